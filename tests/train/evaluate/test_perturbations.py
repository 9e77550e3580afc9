import numpy as np
import pytest
from PIL import Image

from data_prep.duplicates import THUMBNAIL
from fashion_model.images import open_image
from tests.conftest import ROOT
from train.data.foreground import product_mask
from train.evaluate.perturbations import COPIES, PERTURBATIONS, on_color

BAG = open_image(ROOT / "fashion_model" / "examples" / "2650.jpg")


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", [*COPIES, *PERTURBATIONS])
def test_a_perturbation_is_another_photograph_the_same_each_time(name):
    perturb = (COPIES | PERTURBATIONS)[name]
    before = BAG.tobytes()
    found = perturb(BAG, 2650)
    assert found.mode == "RGB"
    assert found.tobytes() == perturb(BAG, 2650).tobytes() != before
    assert BAG.tobytes() == before
    assert found.size == {"downsampled": THUMBNAIL, "cropped": (324, 432)}.get(name, BAG.size)


def test_the_mask_holds_the_product_and_not_the_white_around_it():
    mask = product_mask(BAG)
    assert mask.shape == (480, 360)
    assert mask[300, 180]  # leather
    assert not mask[5, 5]
    assert not mask[470, 350]
    assert 0.2 < mask.mean() < 0.6


def test_a_photograph_without_a_white_background_has_no_mask():
    gray = Image.blend(BAG, Image.new("RGB", BAG.size, (120, 120, 120)), 0.5)
    assert product_mask(gray) is None
    assert product_mask(Image.new("RGB", (30, 40), "white")) is None
    with pytest.raises(ValueError, match="no plain white background"):
        on_color(gray, 1)


def test_a_new_background_leaves_the_product_alone():
    found, mask = pixels(on_color(BAG, 2650)), product_mask(BAG)
    assert (found[mask] == pixels(BAG)[mask]).all()
    assert len(np.unique(found[~mask], axis=0)) == 1


def test_darker_and_warmer_change_light_and_not_shape():
    assert pixels(PERTURBATIONS["darker"](BAG, 1))[0, 0].tolist() == pytest.approx([191] * 3, abs=1)
    red, green, blue = pixels(PERTURBATIONS["warmer"](Image.new("RGB", (1, 1), (100, 100, 100)), 1))[0, 0]
    assert red > green > blue

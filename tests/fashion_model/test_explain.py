"""Maps of a stage against those of pytorch-grad-cam on the whole network, and overlays."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import pytorch_grad_cam
import torch
from PIL import Image
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from fashion_model.explain import METHODS, SCORES, SMOOTHING, backdrop, explain, faded, overlay, resolve_layers
from tests.conftest import ATTRIBUTES, NAMES, USAGE, random_model

SIZE = (64, 48)  # height and width differ, so that they cannot be mixed up
MIXTURE = {"attributes": (*ATTRIBUTES, USAGE), "heads": "moe", "experts": 3}
TINY = ("test_efficientnet", "test_convnext", "mobilenetv3_small_050", "test_vit", "test_mambaout")
NETWORKS = [*((backbone, {}) for backbone in TINY), ("test_efficientnet", MIXTURE)]


class Whole(nn.Module):
    """Images → the logits of all attributes and of is_fashion, side by side."""

    def __init__(self, model):
        super().__init__()
        self.model, self.last = model, nn.Identity()

    def forward(self, images):
        pooled = self.model.pool(self.last(self.model.backbone(images)))
        against = self.model.config.fashion_threshold - self.model.fashion_scores(pooled)[:, None]
        return torch.cat([*self.model.heads(pooled).values(), against, -against], dim=1)


def expected_maps(model, image, classes, method, layer):
    """Maps (classes, H, W) of pytorch-grad-cam, which hooks a stage of the whole network and scales to the image."""
    whole, backbone = Whole(model), model.backbone
    is_last = layer == len(backbone.stages) - 1
    stage = whole.last if is_last else backbone.net.get_submodule(backbone.stages[layer])
    cam_of = getattr(pytorch_grad_cam, METHODS[method])
    with cam_of(whole, [stage], reshape_transform=None if is_last else backbone.as_map) as cam:
        images = image.repeat(len(classes), 1, 1, 1).requires_grad_()
        return cam(images, [ClassifierOutputTarget(index) for index in classes])


def network_and_image(backbone, **settings):
    """Random weights; in float32 early maps of some random networks are mostly rounding errors."""
    model = random_model(backbone, image_size=SIZE, **settings).double().requires_grad_(False)
    for parameter in (*model.heads.parameters(), model.fashion.weight):
        parameter.mul_(10)
    torch.nn.init.normal_(model.fashion.weight)
    return model, torch.randn(1, 3, *SIZE, dtype=torch.float64)


@pytest.mark.parametrize(("backbone", "settings"), NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_pytorch_grad_cam(backbone, settings, method):
    model, image = network_and_image(backbone, **settings)
    counts = {**model.config.num_classes, "is_fashion": 2}
    targets = [(name, index) for name in counts for index in (0, 1)]
    starts = np.cumsum([0, *counts.values()])
    classes = [start + index for start in starts[:-1] for index in (0, 1)]
    for layer in range(len(model.backbone.stages)):
        explained = explain(model, image, targets, method, [layer], "logit")
        expected = expected_maps(model, image, classes, method, layer)
        maps = scale_cam_image(scale_cam_image(explained.maps, SIZE[::-1]))
        assert expected.max() > 0.5
        assert np.allclose(maps, expected, atol=0.01)
        torch.testing.assert_close(explained.pooled, model.features(image), atol=1e-5, rtol=1e-4)


def test_unnamed_class_is_chosen_by_rank():
    model, image = network_and_image("test_efficientnet")
    with torch.no_grad():
        order = {name: x[0].argsort(descending=True).tolist() for name, x in model(image).items()}
    for rank in (0, 1):
        by_rank = explain(model, image, [(name, None, rank) for name in NAMES]).maps
        assert np.array_equal(by_rank, explain(model, image, [(name, order[name][rank]) for name in NAMES]).maps)


def test_scores_are_of_the_logits():
    logits = torch.tensor([1.0, 3.0, 2.5])
    assert [float(score(logits, 1)) for score in SCORES.values()] == pytest.approx([3.0, -0.5550, 0.5], abs=1e-3)
    assert float(SCORES["difference"](logits[:1], 0)) == 1.0


def test_weak_evidence_stays_weak():
    """One scale for all attributes of an image, whichever are asked for; another one for is_fashion."""
    model, image = network_and_image("test_efficientnet")
    with torch.no_grad():
        model.heads.linear["season"].weight.mul_(0.01)
    together = explain(model, image, [(name, None) for name in NAMES]).maps
    assert together.max() == pytest.approx(1)
    assert 0 < together[NAMES.index("season")].max() < 0.1
    for name, alone in zip(NAMES, together, strict=True):
        np.testing.assert_allclose(explain(model, image, [(name, None)]).maps[0], alone, atol=1e-6)
    assert explain(model, image, [("is_fashion", 1), ("is_fashion", 0)]).maps.max() == pytest.approx(1)


def test_several_layers_are_averaged_and_smoothed():
    model, image = network_and_image("test_efficientnet")
    early, late, both = (
        explain(model, image, [("color", 1)], "gradcam", layers).maps[0] for layers in ([1], [-1], [-1, 1])
    )
    averaged = cv2.GaussianBlur(early + cv2.resize(late, early.shape[::-1]), (0, 0), SMOOTHING)[None]
    assert both.shape == early.shape > late.shape
    assert np.allclose(scale_cam_image(both[None]), scale_cam_image(averaged), atol=0.02)


def test_unknown_methods_and_layers_are_refused():
    model, image = network_and_image("test_efficientnet")
    with pytest.raises(ValueError, match=r"unknown method 'lime'; there are gradcam"):
        explain(model, image, [("color", 0)], "lime")
    for layers in ((), (5,), (-6,), (1.5,), -1, (True,)):
        with pytest.raises(ValueError, match="layers must be whole numbers from -5 to 4"):
            explain(model, image, [("color", 0)], "gradcam", layers)
    assert resolve_layers(model, [-1, 2, 4]) == [2, 4]


def test_threads_do_not_mix_up_their_maps():
    """Nor do they leave hooks or gradients in the network that they share."""
    model, _ = network_and_image("test_efficientnet")
    images = 20 * [torch.randn(1, 3, *SIZE, dtype=torch.float64) for _ in range(4)]

    def maps_of(image):
        return explain(model, image, [("color", None)], "gradcam", (2, -1)).maps

    expected = [maps_of(image) for image in images[:4]]
    with ThreadPoolExecutor(4) as pool:
        for maps, alone in zip(pool.map(maps_of, images), 20 * expected, strict=True):
            assert np.array_equal(maps, alone)
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_overlays_are_gray_where_cold():
    photograph = Image.new("RGB", (4, 2), (200, 30, 30))
    heat = Image.new("L", (4, 2), 0)
    heat.putpixel((3, 1), 255)
    ground = backdrop(photograph)
    drawn = overlay(ground, heat)
    assert drawn.size == photograph.size
    assert len(set(drawn.getpixel((0, 0)))) == 1
    red, green, blue = drawn.getpixel((3, 1))
    assert min(red, green) > 1.5 * blue  # yellow
    assert photograph.getpixel((3, 1)) == (200, 30, 30)
    assert overlay(ground, heat, opacity=0).getpixel((3, 1)) == drawn.getpixel((0, 0))
    with pytest.raises(ValueError, match="the opacity must be from 0 to 1"):
        overlay(ground, heat, float("nan"))


def test_map_of_a_part_fades_out_within_the_photograph():
    whole = Image.new("L", (70, 140), 255)
    values = np.asarray(faded(whole, (10, 20, 80, 160), (100, 200)))
    assert values.shape == (140, 70)
    assert max(values[[0, -1]].max(), values[:, [0, -1]].max()) < 15
    assert (values[20:120, 10:60] == 255).all()
    values = np.asarray(faded(whole, (0, 60, 70, 200), (100, 200)))  # at the left and at the bottom
    assert (values[20:, :60] == 255).all()
    assert max(values[0].max(), values[:, -1].max()) < 15

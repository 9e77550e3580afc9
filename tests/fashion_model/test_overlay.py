import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from fashion_model.explain import backdrop, overlay


def test_overlays_are_gray_where_cold():
    photograph = Image.new("RGB", (4, 2), (200, 30, 30))
    heat = Image.new("L", (4, 2), 0)
    heat.putpixel((3, 1), 255)
    ground = backdrop(photograph)
    result = overlay(ground, heat)
    assert result.size == photograph.size
    assert len(set(result.getpixel((0, 0)))) == 1
    red, green, blue = result.getpixel((3, 1))
    assert min(red, green) > 1.5 * blue  # yellow
    assert photograph.getpixel((3, 1)) == (200, 30, 30)
    assert overlay(ground, heat, opacity=0).getpixel((3, 1)) == result.getpixel((0, 0))
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="the opacity must be from 0 to 1"):
            overlay(ground, heat, opacity)


@pytest.mark.parametrize("color", ["black", "white", "red", "darkred", "blue", "navy", "yellow", "gray", "green"])
def test_heat_stands_out_on_any_color(color):
    """In CIE L*a*b*, where a difference of 2.3 can just be seen (Mahy et al. 1994)."""
    heat = Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8))
    cold, half, full = rgb2lab(np.asarray(overlay(backdrop(Image.new("RGB", (3, 1), color)), heat)))[0]
    for one, other in ((cold, half), (half, full), (cold, full)):
        assert deltaE_ciede2000(one, other) > 15

import pytest

from fashion_model.attributes import Attribute, LabelEncoders
from fashion_model.models.config import ModelConfig
from tests.conftest import ATTRIBUTES, NAMES

BOTH = [{"name": "color", "column": "a", "title": "A"}, {"name": "size", "column": "b", "title": "B"}]


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("tf_efficientnet_lite2", ((260, 260), (0.5, 0.5, 0.5), "bicubic")),
        ("efficientnet_v2_s", ((384, 384), (0.485, 0.456, 0.406), "bilinear")),
        ("mobilevit_xxs", ((256, 256), (0.0,) * 3, "bicubic")),
    ],
)
def test_preprocessing_is_that_of_the_weights(backbone, expected):
    config = ModelConfig.for_backbone(backbone, ATTRIBUTES, dict.fromkeys(NAMES, 3))
    assert (config.image_size, config.mean, config.interpolation) == expected


NUMBERS = {  # of each setting, what no checkpoint can have
    "num_classes": (dict.fromkeys(reversed(NAMES), 3), dict.fromkeys(NAMES, 3.0), dict.fromkeys(NAMES, 0)),
    "temperatures": (dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, float("nan")), dict.fromkeys(NAMES[:3], 1.0)),
    "std": ("wide", [0.5, 0.5, 0.0]),
    "mean": ([-0.1, 0.5, 0.5],),
    "dropout": (1,),
    "image_size": ([10**6, 10**6], [True, 96]),
    "fashion_threshold": (float("inf"), None),
    "experts": (10**9,),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"format_version": value}, "has format version .*; this code reads 1") for value in (0, True, None)),
        *(({"backbone": value}, "unknown backbone") for value in ("resnet", ["test_vit"])),
        ({"backbone": "convnext-tiny"}, "unknown backbone 'convnext-tiny'; similar are .*convnext_tiny"),
        ({"surprise": 1}, "unknown .*surprise"),
        *(
            ({"heads": heads, "experts": experts}, "heads must be linear with 0 experts, or moe with at least 2")
            for heads, experts in (("hydra", 0), ("linear", 2), ("moe", 1))
        ),
        *(({key: value}, f"{key} must be ") for key, values in NUMBERS.items() for value in values),
        ({"mean": [0.5] * 9000}, r"mean must be 3 numbers from 0 to 1; it is .{,60}$"),
        ({"interpolation": "lanczos"}, r"interpolation must be one of \('bicubic', 'bilinear'\), not 'lanczos'"),
        ({"attributes": [{"name": "color"}]}, "attributes must be a list of objects with name, column and title"),
        *(
            ({"attributes": value}, "attributes must have distinct names and columns")
            for value in ([], [BOTH[0], BOTH[0] | {"column": "b"}], [BOTH[0], BOTH[1] | {"column": "a"}])
        ),
    ],
)
def test_setting_that_cannot_be_right_is_refused(tiny_model, change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(tiny_model.config.to_dict() | change)


def test_missing_key_has_its_default_or_is_named(tiny_model):
    document = tiny_model.config.to_dict()
    for key in ("experts", "heads", "dropout", "fashion_threshold", "interpolation"):
        del document[key]
    assert ModelConfig.from_dict(document) == tiny_model.config
    del document["temperatures"]
    with pytest.raises(ValueError, match=r"lacks \['temperatures'\]"):
        ModelConfig.from_dict(document)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Color", "an attribute's name is lower-case letters"),
        ("", "needs a name, a column and a title"),
        ("type", "'type' is reserved by PyTorch"),
        ("model", "'model' is a field of predictions or tables"),
        ("checkpoint", "'checkpoint' is a field of predictions or tables"),
        ("a_confidence", "'a_confidence' is a field of predictions or tables"),
    ],
)
def test_impossible_attribute_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        Attribute(name, "column", "Title")


def test_labels_have_the_index_of_their_logit():
    encoders = LabelEncoders({"color": ("Blue", "Red"), "usage": ("Sports",)})
    assert encoders.num_classes == {"color": 2, "usage": 1}
    assert (encoders.target("color", "Red"), encoders.target("color")) == (("color", 1), ("color", None))
    with pytest.raises(ValueError, match="unknown attribute 'colour'; the attributes are color, usage"):
        encoders.target("colour")
    with pytest.raises(ValueError, match="unknown label 'Spoon' for color"):
        encoders.target("color", "Spoon")

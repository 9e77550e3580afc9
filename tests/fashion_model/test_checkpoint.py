import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fashion_model import CheckpointError
from fashion_model.attributes import LabelWords
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, fingerprint, load_checkpoint, save_checkpoint
from fashion_model.system import read_json, write_json
from tests.conftest import ATTRIBUTES, USAGE, contents, encoders_of, logits, random_model, saved_model

WEIGHTS, CONFIG, ENCODERS, LABEL_WORDS = "model.safetensors", "config.json", "label_encoders.json", "label_words.json"


@pytest.mark.parametrize("attributes", [ATTRIBUTES, (*ATTRIBUTES, USAGE), (USAGE,)])
@pytest.mark.parametrize(("heads", "dtype"), [({}, None), ({"heads": "moe", "experts": 3}, torch.float16)])
def test_checkpoint_comes_back_to_the_bit(tmp_path, attributes, heads, dtype):
    model, encoders = random_model(attributes=attributes, **heads), encoders_of(attributes)
    encoders = dataclasses.replace(encoders, words=LabelWords({"Ties": "tie"}, {"Jeans": "jeans"}, {"Ties": "a strip"}))
    model.to(dtype or torch.float32).float()
    save_checkpoint(tmp_path, model, encoders, dtype)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}[WEIGHTS] == 0o644  # for all users
    assert {t.dtype for t in load_file(tmp_path / WEIGHTS).values()} == {dtype or torch.float32, torch.int64}
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == model.config
    assert loaded.encoders == encoders
    assert not loaded.model.training
    state = loaded.model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(logits(loaded.model), logits(model))


def test_fingerprint_is_that_of_the_weights(tiny_checkpoint, tmp_path, tiny_model, tiny_encoders):
    before, copy = fingerprint(tiny_checkpoint), saved_model(tiny_model, tmp_path)
    assert fingerprint(copy) == before
    save_checkpoint(copy, tiny_model, tiny_encoders, dtype=torch.float16)
    assert fingerprint(copy) != before


def test_saving_replaces_only_its_own_files(tiny_checkpoint, tiny_model, tiny_encoders):
    (tiny_checkpoint / "model-mine.safetensors").write_text("the user's")
    (tiny_checkpoint / "report").mkdir()
    for measured in ("metrics.json", "report/report.html", "report/classes.json"):  # of other weights
        (tiny_checkpoint / measured).write_text('{"digests": {}}')
    save_checkpoint(tiny_checkpoint, tiny_model, tiny_encoders, max_shard_size="200KB")
    assert torch.equal(logits(load_checkpoint(tiny_checkpoint).model), logits(tiny_model))
    assert len(list(tiny_checkpoint.glob("model-0000*.safetensors"))) > 1
    assert not (tiny_checkpoint / WEIGHTS).exists()
    save_checkpoint(tiny_checkpoint, tiny_model, tiny_encoders)
    assert set(contents(tiny_checkpoint)) == {WEIGHTS, CONFIG, ENCODERS, LABEL_WORDS, "model-mine.safetensors"}


@pytest.mark.parametrize(("value", "dtype"), [(float("nan"), None), (1e6, torch.float16)])
def test_weights_that_do_not_load_are_not_saved(tiny_checkpoint, tiny_model, tiny_encoders, value, dtype):
    before = contents(tiny_checkpoint)
    with torch.no_grad():
        tiny_model.heads.linear["season"].bias.fill_(value)
    with pytest.raises(CheckpointError, match="the weights hold values that are not numbers, so they are not saved"):
        save_checkpoint(tiny_checkpoint, tiny_model, tiny_encoders, dtype)
    assert contents(tiny_checkpoint) == before


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (CONFIG, {"backbone": "pit_ti_224"}, "backbone 'pit_ti_224' cannot be used"),
        (CONFIG, {"format_version": 2}, "has format version 2; this code reads 1"),
        (ENCODERS, {"usage": {"0": "Casual"}}, "has columns of no attribute: .*usage"),
        (ENCODERS, {"season": {"0": "Fall"}}, r"has .* classes, config\.json \{"),
        *[
            (ENCODERS, {"gender": classes}, "must number distinct labels of 'gender' from 0")
            for classes in (None, {"1": "a"}, {"0": "a", "1": "a"}, {"0": 1})
        ],
        (LABEL_WORDS, {"other": {}}, "must have the objects singular, plural and about"),
        (LABEL_WORDS, {"about": ["Ties"]}, "must have the objects singular, plural and about"),
        (LABEL_WORDS, {"singular": {"Ties": 1}}, "has words that are no text"),
    ],
)
def test_inconsistent_json_is_named(tiny_checkpoint, file, changes, message):
    write_json(tiny_checkpoint / file, read_json(tiny_checkpoint / file) | changes)
    with pytest.raises(CheckpointError, match=f"{file} {message}"):
        load_checkpoint(tiny_checkpoint)


def test_labels_without_words_stand_for_themselves(tiny_checkpoint):
    """Of a checkpoint from before there were words."""
    (tiny_checkpoint / LABEL_WORDS).unlink()
    assert load_checkpoint(tiny_checkpoint).encoders.words.name_of("NBA Ties") == "NBA Ties"


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG, ENCODERS])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"[" * 100_000])
def test_missing_or_damaged_file_is_named(tiny_checkpoint, file, content):
    (tiny_checkpoint / file).unlink()
    if content is not None:
        (tiny_checkpoint / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=file if content is not None else f"{file} is missing"):
        load_checkpoint(tiny_checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("heads.linear.season.bias"), "heads.linear.season.bias"),
        (lambda tensors: tensors.update(surprise=torch.zeros(1)), "surprise"),
        (lambda tensors: tensors.update({"heads.linear.season.bias": torch.zeros(9)}), "heads.linear.season.bias"),
        (lambda tensors: tensors["heads.linear.season.bias"].fill_(float("nan")), "not numbers"),
    ],
)
def test_tensor_that_does_not_fit_is_named(tiny_checkpoint, change, message):
    tensors = load_file(tiny_checkpoint / WEIGHTS)
    change(tensors)
    save_file(tensors, tiny_checkpoint / WEIGHTS)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tiny_checkpoint)


def test_change_after_the_measurement_is_found(tmp_path):
    """In the embedded default, whose metrics.json has digests; also shards that are cut, missing or too many."""
    measured = shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "measured")
    for file in (ENCODERS, "model-00002-of-00002.safetensors"):
        whole = (measured / file).read_bytes()
        content = bytearray(whole)
        content[-10] ^= 1  # a letter of a label, or a bit of a weight
        (measured / file).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{file} is damaged or was exchanged"):
            load_checkpoint(measured)
        (measured / file).write_bytes(whole)
    shard = measured / "model-00001-of-00002.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:5000])
    with pytest.raises(CheckpointError, match=f"{shard.name} is damaged or cut off"):
        load_checkpoint(measured)
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"does not fit config\.json: Missing"):
        load_checkpoint(measured)
    for name in (shard.name, "model-00001-of-00003.safetensors"):
        (measured / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"00003\.safetensors repeats tensors of another file"):
        load_checkpoint(measured)

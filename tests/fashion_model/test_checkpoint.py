import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fashion_model import CheckpointError
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, fingerprint, load_checkpoint, save_checkpoint
from tests.conftest import ATTRIBUTES, USAGE, contents, encoders_of, logits, random_model, saved_model

WEIGHTS, CONFIG, ENCODERS = "model.safetensors", "config.json", "label_encoders.json"


@pytest.fixture
def saved(tiny_checkpoint):
    return tiny_checkpoint


def change_json(path, changes):
    """Replace keys of a JSON object; None deletes one."""
    document = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}), encoding="utf-8")


def test_checkpoint_comes_back_to_the_bit(saved, tiny_model, tiny_encoders):
    assert {path.name for path in saved.iterdir()} == {WEIGHTS, CONFIG, ENCODERS}
    loaded = load_checkpoint(saved)
    assert loaded.config == tiny_model.config
    assert loaded.encoders == tiny_encoders
    state = loaded.model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in tiny_model.state_dict().items())
    assert torch.equal(logits(loaded.model), logits(tiny_model))
    assert not loaded.model.training
    assert (saved / WEIGHTS).stat().st_mode & 0o777 == 0o644  # also for the user who serves them


def test_half_precision_saved_again_is_the_same(saved, tmp_path, tiny_encoders):
    for source, target in ((saved, "half"), (tmp_path / "half", "again")):
        save_checkpoint(tmp_path / target, load_checkpoint(source).model, tiny_encoders, dtype=torch.float16)
    halves = [load_file(tmp_path / name / WEIGHTS) for name in ("half", "again")]
    assert halves[0].keys() == halves[1].keys()
    assert all(torch.equal(halves[0][key], halves[1][key]) for key in halves[0])
    assert {t.dtype for t in halves[0].values()} == {torch.float16, torch.int64}
    assert fingerprint(tmp_path / "half") == fingerprint(tmp_path / "again") != fingerprint(saved)


def test_saving_replaces_only_its_own_files(saved, tiny_model, tiny_encoders):
    own = {"model-mine.safetensors", "unfinished"}
    (saved / "model-mine.safetensors").write_text("the user's")
    (saved / "unfinished").mkdir()
    save_checkpoint(saved, tiny_model, tiny_encoders, max_shard_size="200KB")
    names = {path.name for path in saved.iterdir()}
    shards = names - {CONFIG, ENCODERS, "model.safetensors.index.json"} - own
    assert len(shards) > 1
    assert all(name.startswith("model-0000") for name in shards)
    assert torch.equal(logits(load_checkpoint(saved).model), logits(tiny_model))
    save_checkpoint(saved, tiny_model, tiny_encoders)
    assert {path.name for path in saved.iterdir()} == {WEIGHTS, CONFIG, ENCODERS, *own}


@pytest.mark.parametrize(("value", "dtype"), [(float("nan"), None), (1e6, torch.float16)])
def test_weights_that_do_not_load_are_not_saved(saved, tiny_model, tiny_encoders, value, dtype):
    before = contents(saved)
    with torch.no_grad():
        tiny_model.heads.linear["season"].bias.fill_(value)
    with pytest.raises(CheckpointError, match="the weights hold values that are not numbers, so they are not saved"):
        save_checkpoint(saved, tiny_model, tiny_encoders, dtype)
    assert contents(saved) == before


def test_failed_save_leaves_the_checkpoint(saved, tiny_model, tiny_encoders):
    before = contents(saved)
    with pytest.raises(TypeError):
        save_checkpoint(saved, tiny_model, tiny_encoders, max_shard_size=object())
    assert before.items() <= contents(saved).items()
    save_checkpoint(saved, tiny_model, tiny_encoders)
    assert contents(saved).keys() == before.keys()


@pytest.mark.parametrize("attributes", [(*ATTRIBUTES, USAGE), (USAGE,), ATTRIBUTES[2:]])
def test_attributes_come_from_the_checkpoint(tmp_path, attributes):
    model = random_model(attributes=attributes)
    loaded = load_checkpoint(saved_model(model, tmp_path / "saved"))
    assert loaded.config.attributes == attributes
    assert loaded.encoders == encoders_of(attributes)
    assert list(json.loads((tmp_path / "saved" / ENCODERS).read_text())) == [a.column for a in attributes]
    assert torch.equal(logits(loaded.model), logits(model))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (CONFIG, {"backbone": "efficient_lite2"}, "unknown backbone 'efficient_lite2'; similar are efficientnet_lite2"),
        *[(CONFIG, {"backbone": name}, f"backbone '{name}' cannot be used") for name in ("coat_tiny", "pit_ti_224")],
        *[(CONFIG, {"format_version": v}, f"has format version {v}; this code reads 1") for v in (0, 2)],
        (ENCODERS, {"usage": {"0": "Casual"}}, "has columns of no attribute: .*usage"),
        (ENCODERS, {"season": {"0": "Fall"}}, r"has .* classes, config\.json \{"),
        *[
            (ENCODERS, {"gender": classes}, "must number distinct labels of 'gender' from 0")
            for classes in (None, {}, {"1": "a"}, {"0": "a", "1": "a"}, {"0": 1}, ["a"])
        ],
    ],
)
def test_inconsistent_json_is_named(saved, file, changes, message):
    change_json(saved / file, changes)
    with pytest.raises(CheckpointError, match=f"{file} {message}"):
        load_checkpoint(saved)


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG, ENCODERS])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", bytes(range(256)), b"[" * 100_000])
def test_missing_or_damaged_file_is_named(saved, file, content):
    (saved / file).unlink()
    if content is not None:
        (saved / file).write_bytes(content)
    expected = "" if content is not None else " is missing"
    if content == b"[" * 100_000 and file != WEIGHTS:
        expected = " is nested too deeply"
    with pytest.raises(CheckpointError, match=file + expected):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("heads.linear.season.bias"), "heads.linear.season.bias"),
        (lambda tensors: tensors.update(surprise=torch.zeros(1)), "surprise"),
        (lambda tensors: tensors.update({"heads.linear.season.bias": torch.zeros(9)}), "heads.linear.season.bias"),
        (lambda tensors: tensors["heads.linear.season.bias"].fill_(float("nan")), "not numbers"),
    ],
)
def test_tensor_that_does_not_fit_is_named(saved, change, message):
    tensors = load_file(saved / WEIGHTS)
    change(tensors)
    save_file(tensors, saved / WEIGHTS)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def test_transformer_of_another_size_is_refused(tmp_path):
    folder = saved_model(random_model("test_vit"), tmp_path / "vit")
    change_json(folder / CONFIG, {"image_size": [64, 48]})
    with pytest.raises(CheckpointError, match=r"does not fit config\.json: .*pos_embed"):
        load_checkpoint(folder)


def test_pickle_is_never_opened(saved):
    (saved / WEIGHTS).unlink()
    torch.save({}, saved / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} is missing"):
        load_checkpoint(saved)
    with pytest.raises(CheckpointError, match="neither a directory nor"):
        load_checkpoint("/no/such/folder")


@pytest.fixture
def measured(tmp_path):
    """A copy of the embedded default, whose metrics.json has digests."""
    return shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "measured")


def exchange_labels(path):
    classes = json.loads(path.read_text(encoding="utf-8"))["season"]
    change_json(path, {"season": classes | {"0": classes["1"], "1": classes["0"]}})


def flip_byte(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "change"), [(ENCODERS, exchange_labels), ("model-00002-of-00002.safetensors", flip_byte)]
)
def test_change_after_the_measurement_is_found(measured, file, change):
    change(measured / file)
    with pytest.raises(CheckpointError, match=f"{file} is damaged or was exchanged"):
        load_checkpoint(measured)


def test_other_weights_load_without_the_metrics(measured, tiny_model, tiny_encoders):
    save_checkpoint(measured, tiny_model, tiny_encoders)
    assert not (measured / "metrics.json").exists()
    assert torch.equal(logits(load_checkpoint(measured).model), logits(tiny_model))


@pytest.mark.parametrize("kept", [None, 0, 5000])
def test_cut_or_missing_shard_is_named(measured, kept):
    shard = measured / "model-00001-of-00002.safetensors"
    content = shard.read_bytes()
    shard.unlink()
    if kept is not None:
        shard.write_bytes(content[:kept])
    message = f"{shard.name} is damaged or cut off" if kept is not None else "does not fit config.json: Missing"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(measured)


def test_shard_of_an_earlier_checkpoint_is_named(measured):
    earlier = shutil.copy(measured / "model-00001-of-00002.safetensors", measured / "model-00001-of-00003.safetensors")
    with pytest.raises(CheckpointError, match=r"00003\.safetensors repeats tensors of another file"):
        load_checkpoint(earlier.parent)

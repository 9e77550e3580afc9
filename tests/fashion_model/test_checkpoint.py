import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fashion_model import CheckpointError
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, fingerprint, load_checkpoint, save_checkpoint
from tests.conftest import ATTRIBUTES, USAGE, contents, encoders_of, logits, random_model, saved_model

FILES = {"model.safetensors", "config.json", "label_encoders.json"}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def saved(tiny_checkpoint):
    return tiny_checkpoint


@pytest.fixture
def measured(tmp_path):
    """A copy of the embedded default, whose metrics.json has digests."""
    return shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "measured")


def edit(path, change):
    """Replace a JSON file by what `change` makes of its document."""
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


@pytest.mark.parametrize("attributes", [ATTRIBUTES, (*ATTRIBUTES, USAGE), (USAGE,), ATTRIBUTES[2:]])
def test_a_checkpoint_comes_back_to_the_bit(tmp_path, attributes):
    model = random_model(attributes=attributes)
    folder = saved_model(model, tmp_path / "saved")
    assert set(contents(folder)) == FILES
    loaded = load_checkpoint(folder)
    assert (loaded.config, loaded.encoders) == (model.config, encoders_of(attributes))
    state = loaded.model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(logits(loaded.model), logits(model))
    assert not loaded.model.training
    document = json.loads((folder / "label_encoders.json").read_text())
    assert list(document) == [a.column for a in attributes]
    assert [tuple(labels.values()) for labels in document.values()] == list(loaded.encoders.labels.values())


def test_half_precision_saved_again_is_the_same(saved, tmp_path, tiny_encoders):
    for source, target in ((saved, "half"), (tmp_path / "half", "again")):
        save_checkpoint(tmp_path / target, load_checkpoint(source).model, tiny_encoders, dtype=torch.float16)
    halves = [load_file(tmp_path / name / "model.safetensors") for name in ("half", "again")]
    assert halves[0].keys() == halves[1].keys()
    assert all(torch.equal(halves[0][key], halves[1][key]) for key in halves[0])
    assert {t.dtype for t in halves[0].values()} == {torch.float16, torch.int64}
    assert fingerprint(tmp_path / "half") == fingerprint(tmp_path / "again") != fingerprint(saved)


def test_shards_load_and_replace_a_single_file(saved, tiny_model, tiny_encoders):
    save_checkpoint(saved, tiny_model, tiny_encoders, max_shard_size="200KB")
    names = set(contents(saved))
    assert "model.safetensors.index.json" in names
    assert "model.safetensors" not in names
    assert len([name for name in names if name.endswith(".safetensors")]) > 1
    assert torch.equal(logits(load_checkpoint(saved).model), logits(tiny_model))
    save_checkpoint(saved, tiny_model, tiny_encoders)
    assert set(contents(saved)) == FILES
    assert (saved / "model.safetensors").stat().st_mode & 0o777 == 0o644  # for the user who serves it


def column(name, classes):
    return lambda document: document | {name: classes}


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "config.json",
            column("backbone", "efficient_lite2"),
            "unknown backbone 'efficient_lite2'; similar are efficientnet",
        ),
        ("config.json", column("backbone", "coat_tiny"), "backbone 'coat_tiny' cannot be used"),
        ("config.json", column("backbone", "pit_ti_224"), "backbone 'pit_ti_224' cannot be used"),
        ("config.json", column("format_version", 2), "has format version 2; this code reads 1"),
        ("config.json", column("surprise", 1), "unknown .*surprise"),
        ("label_encoders.json", lambda d: {k: d[k] for k in list(d)[:3]}, "has no classes for 'gender'"),
        ("label_encoders.json", column("usage", {"0": "Casual"}), "has columns of no attribute: usage"),
        ("label_encoders.json", column("gender", {"0": "Men"}), r"has .* config\.json says"),
        ("label_encoders.json", column("gender", {"1": "a"}), "are not numbered"),
        ("label_encoders.json", column("gender", {}), "has no classes"),
        ("label_encoders.json", column("gender", {"0": "a", "1": "a"}), "are not distinct"),
    ],
)
def test_documents_that_cannot_be_right_are_named(saved, file, change, message):
    edit(saved / file, change)
    with pytest.raises(CheckpointError, match=rf"{file}.* {message}"):
        load_checkpoint(saved)


@pytest.mark.parametrize("file", sorted(FILES))
@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is missing"), *((c, "") for c in (b"", b"{", b"[]", bytes(range(256)))), (b"[" * 100_000, "")],
)  # fmt: skip
def test_a_missing_or_damaged_file_is_named(saved, file, content, message):
    (saved / file).unlink()
    if content is not None:
        (saved / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{file} {message}"):
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
def test_wrong_tensors_are_named(saved, change, message):
    tensors = load_file(saved / "model.safetensors")
    change(tensors)
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def test_another_input_size_of_tokens_is_refused(tmp_path):
    folder = saved_model(random_model("test_vit"), tmp_path / "vit")
    edit(folder / "config.json", column("image_size", [64, 48]))
    with pytest.raises(CheckpointError, match=r"does not fit config\.json: .*pos_embed"):
        load_checkpoint(folder)


def test_a_pickle_is_never_opened(saved):
    (saved / "model.safetensors").unlink()
    torch.save({}, saved / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_checkpoint(saved)


def test_neither_a_directory_nor_a_repository():
    with pytest.raises(CheckpointError, match="neither a directory nor"):
        load_checkpoint("/no/such/folder")


@pytest.mark.parametrize("shard", SHARDS)
def test_a_flipped_byte_of_weights_is_found(measured, shard):
    content = bytearray((measured / shard).read_bytes())
    content[-1000] ^= 1
    (measured / shard).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{shard} is damaged or was exchanged"):
        load_checkpoint(measured)


def test_exchanged_measured_labels_are_found(measured):
    def swapped(document):
        seasons = document["season"]
        return document | {"season": seasons | {"0": seasons["1"], "1": seasons["0"]}}

    edit(measured / "label_encoders.json", swapped)
    with pytest.raises(CheckpointError, match=r"label_encoders\.json is damaged or was exchanged"):
        load_checkpoint(measured)


def test_new_weights_have_no_metrics_of_old_ones(measured, tiny_model, tiny_encoders):
    save_checkpoint(measured, tiny_model, tiny_encoders)
    assert not (measured / "metrics.json").exists()
    assert torch.equal(logits(load_checkpoint(measured).model), logits(tiny_model))


@pytest.mark.parametrize("kept", [0, 7, 5000])
def test_a_cut_shard_is_named_without_pickle(measured, kept):
    (measured / SHARDS[0]).write_bytes((measured / SHARDS[0]).read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=SHARDS[0]) as raised:
        load_checkpoint(measured)
    assert not any(word in str(raised.value) for word in ("pickle", "safe=False"))


def test_an_unfinished_save_changes_nothing(saved, tiny_model, tiny_encoders):
    before = contents(saved)
    with pytest.raises(TypeError):
        save_checkpoint(saved, tiny_model, tiny_encoders, max_shard_size=object())
    assert {name: content for name, content in contents(saved).items() if name in before} == before
    save_checkpoint(saved, tiny_model, tiny_encoders)
    assert contents(saved).keys() == before.keys()

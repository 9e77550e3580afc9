import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fashion_model import CheckpointError
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, load_checkpoint, save_checkpoint
from tests.conftest import ATTRIBUTES, USAGE, contents, encoders_of, logits, random_model, saved_model

COLUMNS = [attribute.column for attribute in ATTRIBUTES]


@pytest.fixture
def saved(tiny_checkpoint):
    return tiny_checkpoint


def test_a_checkpoint_comes_back_to_the_bit(saved, tiny_model, tiny_encoders):
    assert {path.name for path in saved.iterdir()} == {"model.safetensors", "config.json", "label_encoders.json"}
    loaded = load_checkpoint(saved)
    assert loaded.config == tiny_model.config
    assert loaded.encoders == tiny_encoders
    state = loaded.model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in tiny_model.state_dict().items())
    assert torch.equal(logits(loaded.model), logits(tiny_model))
    assert not loaded.model.training


def test_half_precision_saved_again_is_the_same_file(saved, tmp_path, tiny_encoders):
    for source, target in ((saved, "half"), (tmp_path / "half", "again")):
        save_checkpoint(tmp_path / target, load_checkpoint(source).model, tiny_encoders, dtype=torch.float16)
    halves = [load_file(tmp_path / name / "model.safetensors") for name in ("half", "again")]
    assert halves[0].keys() == halves[1].keys()
    assert all(torch.equal(halves[0][key], halves[1][key]) for key in halves[0])
    assert {t.dtype for t in halves[0].values()} == {torch.float16, torch.int64}


def test_sharded_weights_load_and_replace_a_single_file(saved, tiny_model, tiny_encoders):
    save_checkpoint(saved, tiny_model, tiny_encoders, max_shard_size="200KB")
    names = {path.name for path in saved.iterdir()}
    assert "model.safetensors.index.json" in names
    assert "model.safetensors" not in names
    assert len([name for name in names if name.endswith(".safetensors")]) > 1
    assert torch.equal(logits(load_checkpoint(saved).model), logits(tiny_model))
    save_checkpoint(saved, tiny_model, tiny_encoders)
    assert {path.name for path in saved.iterdir()} == {"model.safetensors", "config.json", "label_encoders.json"}


def test_the_encoders_are_written_by_column(saved, tiny_encoders):
    document = json.loads((saved / "label_encoders.json").read_text())
    assert list(document) == ["baseColour", "articleType", "season", "gender"]
    assert document["season"] == {str(i): label for i, label in enumerate(tiny_encoders.labels["season"])}


@pytest.mark.parametrize("attributes", [(*ATTRIBUTES, USAGE), (USAGE,), ATTRIBUTES[2:]])
def test_the_attributes_come_from_the_checkpoint(tmp_path, attributes):
    model = random_model(attributes=attributes)
    loaded = load_checkpoint(saved_model(model, tmp_path / "saved"))
    assert loaded.config.attributes == attributes
    assert loaded.encoders == encoders_of(attributes)
    assert list(json.loads((tmp_path / "saved" / "label_encoders.json").read_text())) == [a.column for a in attributes]
    assert torch.equal(logits(loaded.model), logits(model))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (COLUMNS[:3], "has no classes for 'gender'"),
        ([*COLUMNS, "usage"], "has columns of no attribute: usage"),
    ],
)
def test_encoders_of_other_attributes_than_the_config_are_an_error(saved, columns, message):
    path = saved / "label_encoders.json"
    document = {"usage": {"0": "Casual"}} | json.loads(path.read_text())
    path.write_text(json.dumps({column: document[column] for column in columns}))
    with pytest.raises(CheckpointError, match=rf"label_encoders\.json {message}"):
        load_checkpoint(saved)


def test_an_unknown_backbone_is_answered_with_a_similar_one(saved):
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"backbone": "efficient_lite2"}))
    with pytest.raises(
        CheckpointError, match=r"config\.json unknown backbone 'efficient_lite2'; similar are efficientnet_lite2"
    ):
        load_checkpoint(saved)


@pytest.mark.parametrize("backbone", ["coat_tiny", "pit_ti_224"])
def test_a_backbone_without_feature_map_is_refused(saved, backbone):
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"backbone": backbone}))
    with pytest.raises(CheckpointError, match=rf"config\.json backbone '{backbone}' cannot be used"):
        load_checkpoint(saved)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "label_encoders.json"])
def test_a_missing_file_is_named(saved, file):
    (saved / file).unlink()
    with pytest.raises(CheckpointError, match=f"{file} is missing"):
        load_checkpoint(saved)


@pytest.mark.parametrize("version", [0, 2, 5])
def test_a_checkpoint_of_another_format_is_refused_by_its_number(saved, version):
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
    with pytest.raises(CheckpointError, match=rf"config\.json has format version {version}; this code reads 1"):
        load_checkpoint(saved)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "label_encoders.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", bytes(range(256))])
def test_a_damaged_file_is_named(saved, file, content):
    (saved / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=file):
        load_checkpoint(saved)


def change_weights(saved, change):
    tensors = load_file(saved / "model.safetensors")
    change(tensors)
    save_file(tensors, saved / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("heads.linear.season.bias"), "heads.linear.season.bias"),
        (lambda tensors: tensors.update(surprise=torch.zeros(1)), "surprise"),
        (lambda tensors: tensors.update({"heads.linear.season.bias": torch.zeros(9)}), "heads.linear.season.bias"),
        (lambda tensors: tensors["heads.linear.season.bias"].fill_(float("nan")), "not numbers"),
    ],
)
def test_a_missing_unexpected_or_misshapen_tensor_is_named(saved, change, message):
    change_weights(saved, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def test_a_transformer_of_another_input_size_is_refused_by_its_position_embedding(tmp_path):
    folder = saved_model(random_model("test_vit"), tmp_path / "vit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_size": [64, 48]}))
    with pytest.raises(CheckpointError, match=r"does not fit config\.json: .*pos_embed"):
        load_checkpoint(folder)


def test_class_counts_that_differ_between_encoders_and_config_are_an_error(saved):
    path = saved / "label_encoders.json"
    document = json.loads(path.read_text())
    document["season"].popitem()
    path.write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=r"label_encoders\.json has .* config\.json says"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("classes", "message"),
    [({"1": "a"}, "not numbered"), ({}, "no classes"), ({"0": "a", "1": "a"}, "not distinct")],
)
def test_encoders_that_cannot_be_right_are_an_error(saved, classes, message):
    path = saved / "label_encoders.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gender": classes}))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def test_a_pickle_is_never_opened(saved):
    (saved / "model.safetensors").unlink()
    torch.save({}, saved / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_checkpoint(saved)


def test_weights_can_be_read_by_the_user_who_serves_them(saved):
    assert (saved / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_name_that_is_neither_a_directory_nor_a_repository_is_an_error():
    with pytest.raises(CheckpointError, match="neither a directory nor"):
        load_checkpoint("/no/such/folder")


@pytest.mark.parametrize("file", ["config.json", "label_encoders.json"])
def test_brackets_by_the_thousand_are_a_sentence(saved, file):
    (saved / file).write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=f"{file} is nested too deeply"):
        load_checkpoint(saved)


@pytest.fixture
def measured(tmp_path):
    """A copy of the embedded default, whose metrics.json has digests."""
    return shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "measured")


@pytest.mark.parametrize("shard", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
def test_a_flipped_byte_of_measured_weights_is_found(measured, shard):
    content = bytearray((measured / shard).read_bytes())
    content[-1000] ^= 1
    (measured / shard).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{shard} is damaged or was exchanged"):
        load_checkpoint(measured)


def test_exchanged_labels_of_a_measured_checkpoint_are_found(measured):
    path = measured / "label_encoders.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["season"]["0"], document["season"]["1"] = document["season"]["1"], document["season"]["0"]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"label_encoders\.json is damaged or was exchanged"):
        load_checkpoint(measured)


def test_other_weights_in_the_place_of_measured_ones_load_without_their_metrics(measured, tiny_model, tiny_encoders):
    save_checkpoint(measured, tiny_model, tiny_encoders)
    assert not (measured / "metrics.json").exists()
    assert torch.equal(logits(load_checkpoint(measured).model), logits(tiny_model))


@pytest.mark.parametrize("kept", [0, 7, 5000])
def test_a_cut_shard_is_named_and_no_other_format_is_recommended(measured, kept):
    shard = measured / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=shard.name) as raised:
        load_checkpoint(measured)
    assert "pickle" not in str(raised.value)
    assert "safe=False" not in str(raised.value)


def test_an_unfinished_save_leaves_the_checkpoint_as_it_was(saved, tiny_model, tiny_encoders):
    before = contents(saved)
    with pytest.raises(TypeError):
        save_checkpoint(saved, tiny_model, tiny_encoders, max_shard_size=object())
    assert {name: before[name] for name in before} == {n: c for n, c in contents(saved).items() if n in before}
    save_checkpoint(saved, tiny_model, tiny_encoders)
    assert contents(saved).keys() == before.keys()

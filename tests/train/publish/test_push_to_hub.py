"""Pushing a checkpoint to a loopback Hub and loading it back."""

import json
import time

import pytest
import torch
from huggingface_hub import ModelCard, constants

from fashion_model.attributes import LabelEncoders
from fashion_model.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import ATTRIBUTES, contents, logits
from tests.hub import TOKEN
from tests.train.conftest import write_metrics
from train.__main__ import main

NAME = "user/classifier"


@pytest.fixture
def push(pushing, evaluated):
    return lambda *options: main(["push-to-hub", "--checkpoint", str(evaluated), "--repo", NAME, *options])


@pytest.fixture
def refused(push, capsys):
    """Assert that a push fails with a message."""

    def check(message, *options):
        assert push(*options) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("push-to-hub: ")
        assert message in printed

    return check


def test_pushed_files_load_by_every_revision(hub, push, evaluated, tmp_path, tiny_model, capsys):
    (evaluated / "training.json").write_text('{"hours": 1.5}')
    expected = contents(evaluated)
    for own in ("notes.txt", "model_mine.safetensors", "report/mine.csv", "figures/mine.png"):
        (evaluated / own).write_text("the owner's")
    assert push("--tag", "v1") == 0
    address, commit, tagged = capsys.readouterr().out.splitlines()
    repository = hub.repositories["model", NAME]
    assert (address, tagged) == (f"{hub.address}/{NAME}/commit/{commit}", "tagged v1")
    assert (repository.branches, repository.tags) == ({"main": commit}, {"v1": commit})
    assert not repository.private
    assert len(repository.commits) == 2  # the one that creates it, and one more
    del expected["training/state.pt"]
    assert repository.head == {**expected, "README.md": repository.head["README.md"], ".gitattributes": b""}
    for revision in (None, "v1", commit):
        loaded = load_checkpoint(NAME, revision=revision, cache_dir=tmp_path / f"cache {revision}")
        assert torch.equal(logits(loaded.model), logits(tiny_model))


def test_second_push_deletes_only_its_own_files(hub, push, evaluated, tiny_model, tiny_encoders):
    save_checkpoint(evaluated, tiny_model, tiny_encoders, max_shard_size="200KB")
    write_metrics(evaluated)
    assert push() == 0
    repository = hub.repositories["model", NAME]
    sharded = dict(repository.head)
    assert push() == 0
    assert repository.head == sharded
    own = dict.fromkeys(("notes.txt", "model-mine.safetensors", "report/mine.csv", "figures/mine.png"), b"the owner's")
    repository.commit({**sharded, **own, "report/classes_color.csv": b"ours"})
    save_checkpoint(evaluated, tiny_model, tiny_encoders)
    write_metrics(evaluated)
    assert push() == 0
    shards = {file for file in sharded if file.startswith("model")}
    assert len(shards) > 2
    assert set(repository.head) == {*sharded, *own, "model.safetensors"} - shards


def test_card_metadata_are_those_of_the_metrics(hub, push, evaluated):
    assert push("--private") == 0
    repository = hub.repositories["model", NAME]
    assert repository.private
    card = ModelCard(repository.head["README.md"].decode())
    data = card.data
    assert (data.pipeline_tag, data.license, data.library_name) == ("image-classification", "mit", "pytorch")
    assert data.datasets == ["ashraq/fashion-product-images-small"]
    domains = json.loads((evaluated / "metrics.json").read_text())["splits"]["test"]["domains"]
    assert {(r.dataset_config, r.metric_name): r.metric_value for r in data.eval_results} == {
        (domain, f"{a.title}: prediction accepted"): metrics["attributes"][a.name]["accuracy"]
        for domain, metrics in domains.items()
        for a in ATTRIBUTES
    }
    assert {r.dataset_split for r in data.eval_results} == {"test"}
    assert f'from_pretrained("{NAME}")' in card.text
    assert "Client(" in card.text


def test_dry_run_sends_no_request(hub, push, capsys):
    assert push("--dry-run", "--space", "user/page") == 0
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed
    assert "https://huggingface.co/spaces/user/page" in printed
    assert not hub.requests


def rename_split(folder):
    document = json.loads((folder / "metrics.json").read_text())
    document["splits"]["validation"] = document["splits"].pop("test")
    (folder / "metrics.json").write_text(json.dumps(document))


def change_config(folder):
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(document | {"fashion_threshold": 1.0}))


def change_labels(folder):
    encoders = load_checkpoint(folder).encoders
    LabelEncoders({n: labels[::-1] for n, labels in encoders.labels.items()}).save(
        folder / "label_encoders.json", ATTRIBUTES
    )


def save_again(folder):
    checkpoint = load_checkpoint(folder)
    save_checkpoint(folder, checkpoint.model, checkpoint.encoders)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{}"), "config.json"),
        (lambda folder: (folder / "metrics.json").unlink(), "run train evaluate first"),
        (lambda folder: (folder / "metrics.json").write_text("{}"), "run train evaluate first"),
        (lambda folder: (folder / "model.safetensors").write_text("no weights"), "damaged or cut off"),
        (rename_split, "has no metrics of the test split; run train evaluate"),
        (change_config, "belongs to other weights or another calibration"),
        (change_labels, "label_encoders.json is damaged or was exchanged"),
        (save_again, "run train evaluate first"),
    ],
)
def test_checkpoint_not_measured_as_it_is_is_refused(hub, refused, evaluated, change, message):
    change(evaluated)
    refused(message)
    assert not hub.requests


def test_missing_rights_are_a_sentence(hub, pushing, evaluated, refused, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    refused("push-to-hub: there is no token: `hf auth login` stores one, or set HF_TOKEN\n")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused("user/classifier: the token is not valid (status 401")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    refused("the token may not do that (status 403: You don't have the rights", "--repo", "other/classifier")
    refused("no/such/name: it cannot be the name of a Hub repository", "--repo", "no/such/name")
    assert not hub.repositories


def test_tag_or_public_repository_stops_the_push(hub, refused):
    repository = hub.add("model", NAME)
    repository.tags["v1"] = before = repository.branches["main"]
    refused("the tag v1 exists already", "--tag", "v1")
    refused("is public", "--private")
    assert repository.branches["main"] == before


def test_push_during_another_push_is_refused(hub, refused):
    repository = hub.add("model", NAME)

    def push_first(request):
        if "/preupload/" in request.url.path:
            repository.commit({"theirs.txt": b"first"})

    hub.before = push_first
    refused("someone else has pushed meanwhile")
    assert repository.head == {"theirs.txt": b"first"}


def test_name_of_something_else_is_not_overwritten(hub, refused):
    files = {".gitattributes": b"", "config.json": b"{}", "model-00001-of-00002.safetensors": b"another network's"}
    repository = hub.add("model", NAME, files)
    refused("the name is taken: what is there has no label_encoders.json")
    assert repository.head == files


def test_offline_nothing_is_pushed(hub, refused, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE is set")
    assert not hub.requests


STEPS = {
    "whoami": "/whoami",
    "create": "/repos/create",
    "info": f"GET /api/models/{NAME}",
    "card": "/validate-yaml",
    "preupload": "/preupload/",
    "batch": "/objects/batch",
    "upload": "PUT /lfs/",
    "verify": "POST /lfs/",
    "commit": "/commit/",
}
FAULTS = [(step, "503") for step in STEPS] + [("info", "403"), ("upload", "403"), ("create", "drop")]
FAULTS += [("commit", kind) for kind in ("401", "403", "404", "412", "429", "page", "drop")]


@pytest.mark.parametrize(("step", "kind"), FAULTS)
def test_failed_push_leaves_the_old_revision(hub, push, refused, evaluated, tiny_model, tiny_encoders, step, kind):
    assert push() == 0
    repository = hub.repositories["model", NAME]
    old = repository.branches["main"]
    with torch.no_grad():
        tiny_model.heads.linear["season"].bias.add_(1)
    save_checkpoint(evaluated, tiny_model, tiny_encoders)
    write_metrics(evaluated)
    hub.fault(STEPS[step], kind)
    refused(f"push-to-hub: {NAME}: ", "--timeout", "5")
    assert repository.branches["main"] == old
    hub.faults.clear()
    assert push() == 0
    assert repository.head["model.safetensors"] == (evaluated / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("step", "kind"), [("upload", "503"), ("preupload", "429"), ("upload", "drop")])
def test_push_repeats_what_fails_once(hub, push, step, kind):
    hub.fault(STEPS[step], kind, times=1)
    assert push() == 0


@pytest.mark.parametrize("step", ["info", "commit"])
def test_hanging_hub_ends_a_push(hub, refused, step):
    hub.fault(STEPS[step], "hang")
    start = time.monotonic()
    refused("does not answer", "--timeout", "1")
    assert time.monotonic() - start < 60


def test_commit_without_its_answer_can_be_completed(hub, push, refused):
    repository = hub.add("model", NAME)
    hub.fault("/commit/", "lose", times=1)
    refused("but there is a new commit; if it is yours, the same command again does the rest", "--tag", "v1")
    assert "model.safetensors" in repository.head
    assert push("--tag", "v1") == 0
    assert repository.resolve("v1") == repository.branches["main"]


def test_fault_after_the_commit_names_what_was_done(hub, push, capsys):
    hub.fault("/tag/", "500")
    assert push("--tag", "v1") == 2
    printed = capsys.readouterr()
    assert hub.repositories["model", NAME].branches["main"] in printed.out
    assert "committed, but not tagged" in printed.err

"""Pushing a checkpoint and the Space to a loopback Hub, and starting what was pushed."""

import re
import shutil
import subprocess

import pytest
import torch
import yaml
from gradio_client import Client, handle_file

from fashion_model.checkpoint import (
    CLASSES,
    DEFAULT_CHECKPOINT,
    FINDER,
    REPORT,
    WEIGHTS,
    WEIGHTS_INDEX,
    load_checkpoint,
    read_json,
    write_json,
)
from fashion_model.figures import accuracy_rows, found_rows
from tests.conftest import ROOT, contents, logits, running_app
from train.__main__ import main
from train.data.table import read_trained_on
from train.evaluate.card import model_card
from train.evaluate.split_metrics import read_metrics
from train.evaluate.tables import frame, markdown_table
from train.publish.push import RECORD, files_of_space

MODEL, SPACE = "user/classifier", "user/page"


@pytest.fixture
def push(pushing, evaluated):
    return lambda *options: main(["push-to-hub", "--checkpoint", str(evaluated), "--repo", MODEL, *options])


@pytest.fixture
def refused(push, capsys):
    """Assert that a push fails with a message."""

    def check(message, *options):
        assert push(*options) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("push-to-hub: ")
        assert message in printed

    return check


def test_push_is_one_commit_of_our_files(hub, push, evaluated, tmp_path, tiny_model, capsys):
    """It loads by its tag, and a Space serves it."""
    (evaluated / "training.json").write_text('{"hours": 1.5}')
    expected = contents(evaluated)
    for own in ("notes.txt", "model_mine.safetensors", "report/mine.csv", "figures/mine.png"):
        (evaluated / own).write_text("the owner's")
    assert push("--tag", "v1", "--space", SPACE) == 0
    address, commit, tagged, *_ = capsys.readouterr().out.splitlines()
    repository = hub.repositories["model", MODEL]
    assert (address, tagged) == (f"{hub.address}/{MODEL}/commit/{commit}", "tagged v1")
    assert (repository.branches, repository.tags) == ({"main": commit}, {"v1": commit})
    assert len(repository.commits) == 2  # the one that creates it, and one more
    del expected["training/state.pt"]
    record = "".join(f"{name}\n" for name in sorted({*expected, "README.md"})).encode()
    changed = {"README.md": repository.head["README.md"], ".gitattributes": b"", RECORD: record}
    assert repository.head == expected | changed
    loaded = load_checkpoint(MODEL, revision="v1", cache_dir=tmp_path / "cache")
    assert torch.equal(logits(loaded.model), logits(tiny_model))
    assert hub.repositories["space", SPACE].variables == {"FASHION_MODEL": f"{MODEL}@{commit}"}
    assert f"spaces/{SPACE}".encode() in repository.head["README.md"]


def test_checkpoint_not_measured_as_it_is_is_refused(hub, refused, evaluated):
    write_json(evaluated / "config.json", read_json(evaluated / "config.json") | {"fashion_threshold": 1.0})
    refused("belongs to other weights or another calibration")
    (evaluated / "metrics.json").unlink()
    refused("run train evaluate first")
    assert not hub.requests


def test_missing_rights_are_a_sentence(hub, refused, monkeypatch):
    refused("the token may not do that (status 403: You don't have the rights", "--repo", "other/classifier")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused("user/classifier: the token is not valid (status 401")
    monkeypatch.delenv("HF_TOKEN")
    refused("push-to-hub: there is no token: `hf auth login` stores one, or set HF_TOKEN\n")
    assert not hub.repositories


def test_push_replaces_another_checkpoint(hub, push, tmp_path):
    """One in shards, uploaded by other means, and what an earlier push has recorded; nothing else."""
    files = ("label_encoders.json", "model-00001-of-00001.safetensors", WEIGHTS_INDEX, FINDER, "figures/old.png")
    own = {"written.txt": b"notes.txt", "notes.txt": b"", "other/model.safetensors": b""}
    repository = hub.add("model", MODEL, {**dict.fromkeys(files, b"{}"), **own, RECORD: b"figures/old.png\n"})
    assert push() == 0
    assert set(files[1:]).isdisjoint(repository.head)
    assert own.items() < repository.head.items()
    load_checkpoint(MODEL, cache_dir=tmp_path / "cache")


def test_existing_tag_stops_the_push(hub, refused):
    repository = hub.add("model", MODEL)
    repository.tags["v1"] = before = repository.branches["main"]
    refused("the tag v1 exists already", "--tag", "v1")
    assert repository.branches["main"] == before


def test_push_during_another_push_is_refused(hub, refused):
    repository = hub.add("model", MODEL)

    def push_first(request):
        if "/preupload/" in request.url.path:
            repository.commit({"theirs.txt": b"first"})

    hub.before = push_first
    refused("someone else has pushed meanwhile")
    assert repository.head == {"theirs.txt": b"first"}


@pytest.mark.parametrize(
    ("step", "kind"),
    [("/repos/create", "drop"), ("PUT /lfs/", "403"), ("PUT /lfs/", "503"), ("/commit/", "hang")],
)
def test_failed_push_leaves_the_old_revision(hub, push, refused, evaluated, step, kind):
    repository = hub.add("model", MODEL)
    old = repository.branches["main"]
    hub.fault(step, kind)
    refused(f"push-to-hub: {MODEL}: ", "--timeout", "1")
    assert repository.branches["main"] == old
    hub.faults.clear()
    hub.fault("PUT /lfs/", "503", times=1)  # is repeated
    assert push() == 0
    assert repository.head["model.safetensors"] == (evaluated / "model.safetensors").read_bytes()


@pytest.fixture
def model(hub, token, tiny_checkpoint):
    return hub.add("model", MODEL, contents(tiny_checkpoint))


def push_space(*options, model=MODEL):
    return main(["push-space", "--space", SPACE, "--model", model, *options])


def test_pushed_space_starts_elsewhere_and_predicts(hub, model, tmp_path):
    """Only its files, in an empty folder, with the variable that the Space would set."""
    model.tags["v1"] = commit = model.branches["main"]
    assert push_space(model=f"{MODEL}@v1") == 0
    space = hub.repositories["space", SPACE]
    assert (space.sdk, space.variables) == ("gradio", {"FASHION_MODEL": f"{MODEL}@{commit}"})
    for name, content in space.head.items():
        (tmp_path / "space" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / name).write_bytes(content)
    reach_hub = {"HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1"}
    with running_app(tmp_path / "space", **reach_hub, **space.variables) as (address, _):
        client = Client(address, verbose=False)
        outputs = client.predict(handle_file(ROOT / "fashion_model/examples/2650.jpg"), api_name="/predict")
        properties = [component["props"] for component in client.config["components"]]
    (line,) = [p["value"] for p in properties if p.get("elem_id") == "checkpoint"]
    assert f"{MODEL}@{commit}" in line
    assert all(len(label["confidences"]) > 1 for label in outputs[:4])


def test_space_holds_the_app_and_the_package(hub, model, capsys):
    model.private = True
    assert push_space() == 0
    assert "needs a secret HF_TOKEN" in capsys.readouterr().out
    files = hub.repositories["space", SPACE].head
    package = subprocess.run(["git", "ls-files", "fashion_model"], cwd=ROOT, capture_output=True, text=True, check=True)
    others = {".gitattributes", "LICENSE", "README.md", "app.py", "requirements.txt", RECORD}
    others |= set(re.findall(r"\]\((\.github/.*?)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert set(files) == {*package.stdout.splitlines(), *others}
    assert max(len(content) for content in files.values()) < 10_000_000
    front, ours = (
        text.split("---\n", 2)[1] for text in (files["README.md"].decode(), (ROOT / "README.md").read_text())
    )
    assert yaml.safe_load(front) == yaml.safe_load(ours) | {"models": [MODEL]}


def test_checkout_may_lie_below_any_folder(hub, model, tmp_path, monkeypatch, capsys):
    checkout, expected = tmp_path / "predictions" / "__pycache__", files_of_space(MODEL)
    for name in expected:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    monkeypatch.setattr("train.publish.push.ROOT", checkout)
    assert files_of_space(MODEL).keys() == expected.keys()
    (checkout / "app.py").unlink()
    assert push_space() == 2
    assert "has no app.py, so the Space could not start" in capsys.readouterr().err
    assert not hub.requests


def test_update_deletes_what_was_pushed_before(hub, model):
    """And what a checkpoint would be loaded from; nothing else, whatever it is called."""
    loaded = {f"fashion_model/default_checkpoint/{file}" for file in ("model-00009-of-00009.safetensors", WEIGHTS)}
    own = {".gitattributes", "notes.txt", "fashion_model/mine.py", "model-00009-of-00009.safetensors"}
    old = {"fashion_model/old.py", *loaded}
    record = b"fashion_model/__init__.py\ndeleted.txt\nfashion_model/old.py\n"
    there = dict.fromkeys({"fashion_model/__init__.py", *old, *own}, b"") | {RECORD: record}
    space = hub.add("space", SPACE, there)
    assert push_space() == 0
    assert not old & set(space.head)
    assert own < set(space.head)
    assert set(space.head) - own == {*space.head[RECORD].decode().split(), RECORD}


def test_other_space_is_not_overwritten(hub, model, capsys):
    space = hub.add("space", SPACE, {"Dockerfile": b"FROM debian"})
    for options, message in ((["--private"], "is public, so --private"), ([], "taken: what is there has no fashion")):
        assert push_space(*options) == 2
        assert message in capsys.readouterr().err
    assert (set(space.head), space.variables) == ({".gitattributes", "Dockerfile"}, {})


def test_embedded_default_is_ready_for_a_release():
    """All its parts belong together, and README.md shows its metrics."""
    config, metrics = load_checkpoint().config, read_metrics(DEFAULT_CHECKPOINT)["test"]
    assert 1 not in config.temperatures.values()
    assert read_trained_on(DEFAULT_CHECKPOINT)
    assert (DEFAULT_CHECKPOINT / "README.md").read_text(encoding="utf-8") == model_card(DEFAULT_CHECKPOINT, metrics)
    assert all((DEFAULT_CHECKPOINT / file).is_file() for file in (REPORT, CLASSES))
    assert sum(path.stat().st_size for path in DEFAULT_CHECKPOINT.rglob("*")) < 50e6
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for rows in (accuracy_rows(config.attributes, metrics), found_rows(metrics["finder"])):
        assert markdown_table(frame(rows)) in readme

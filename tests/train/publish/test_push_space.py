"""Deploying the Space to a loopback Hub, and starting what was deployed."""

import shutil
import subprocess

import pytest
import yaml
from gradio_client import Client, handle_file

from fashion_model.hub import HubError
from tests.conftest import ROOT, contents, running_app
from train.__main__ import main
from train.publish.commits import files_of_space

SPACE, MODEL = "user/page", "user/classifier"


@pytest.fixture
def model(hub, token, tiny_checkpoint):
    return hub.add("model", MODEL, contents(tiny_checkpoint))


def push(*options, model=MODEL):
    return main(["push-space", "--space", SPACE, "--model", model, *options])


def test_pushed_space_starts_elsewhere_and_predicts(hub, model, tmp_path):
    """Only its files, in an empty folder, with the variable that the Space would set."""
    model.tags["v1"] = commit = model.branches["main"]
    assert push(model=f"{MODEL}@v1") == 0
    space = hub.repositories["space", SPACE]
    assert space.sdk == "gradio"
    assert space.variables == {"FASHION_MODEL": f"{MODEL}@{commit}"}
    for name, content in space.head.items():
        (tmp_path / "space" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / name).write_bytes(content)
    reach_hub = {"HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1"}
    with running_app(tmp_path / "space", **reach_hub, **space.variables) as (address, _):
        client = Client(address, verbose=False)
        answer = client.predict(handle_file(ROOT / "fashion_model/examples/2650.jpg"), api_name="/predict")
        properties = [component["props"] for component in client.config["components"]]
    (line,) = [p["value"] for p in properties if p.get("elem_id") == "checkpoint"]
    assert f"{MODEL}@{commit}" in line
    assert [len(label["confidences"]) > 1 for label in answer[:4]] == [True] * 4


def test_space_holds_the_app_and_the_package(hub, model):
    assert push() == 0
    files = hub.repositories["space", SPACE].head
    package = subprocess.run(["git", "ls-files", "fashion_model"], cwd=ROOT, capture_output=True, text=True, check=True)
    others = {".gitattributes", ".github/screenshot.png", "LICENSE", "README.md", "app.py", "requirements.txt"}
    assert set(files) == {*package.stdout.splitlines(), *others}
    assert max(len(content) for content in files.values()) < 10_000_000
    _, front, body = files["README.md"].decode().split("---\n", 2)
    ours = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front) == yaml.safe_load(ours[1]) | {"models": [MODEL]}
    assert body.strip() == ours[2].strip()


def test_checkout_may_lie_below_any_folder(tmp_path):
    checkout, expected = tmp_path / "predictions" / "__pycache__", files_of_space(MODEL)
    for name in expected:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    assert files_of_space(MODEL, checkout).keys() == expected.keys()
    for missing in ("app.py", "fashion_model/__init__.py", "fashion_model/default_checkpoint/config.json"):
        (checkout / missing).rename(checkout / "kept")
        with pytest.raises(HubError, match=f"has no {missing}, so the Space could not start"):
            files_of_space(MODEL, checkout)
        (checkout / "kept").rename(checkout / missing)


def test_update_deletes_our_old_files_only(hub, model):
    old = {"fashion_model/old.py", "fashion_model/default_checkpoint/model-00009-of-00009.safetensors"}
    own = {"notes.txt", "fashion_model/notes.txt", "fashion_model/default_checkpoint/notes.txt"}
    space = hub.add("space", SPACE, dict.fromkeys({"fashion_model/__init__.py", *old, *own}, b""))
    assert push() == 0
    assert not old & set(space.head)
    assert own < set(space.head)
    assert len(space.commits) == 2


@pytest.mark.parametrize("hidden", [None, "private", "gated"])
def test_hidden_model_needs_a_secret(hub, model, capsys, hidden):
    if hidden:
        setattr(model, hidden, True)
    assert push() == 0
    assert ("needs a secret HF_TOKEN" in capsys.readouterr().out) is bool(hidden)


def test_one_command_pushes_checkpoint_and_space(hub, pushing, evaluated):
    assert main(["push-to-hub", "--checkpoint", str(evaluated), "--repo", MODEL, "--space", SPACE]) == 0
    pushed = hub.repositories["model", MODEL]
    assert hub.repositories["space", SPACE].variables == {"FASHION_MODEL": f"{MODEL}@{pushed.branches['main']}"}
    assert f"spaces/{SPACE}".encode() in pushed.head["README.md"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("user/nowhere", "user/nowhere: there is no such repository"),
        (f"{MODEL}@v9", f"{MODEL}: it has no such revision"),
        ("user/empty", "user/empty: it holds no label_encoders.json"),
    ],
)
def test_missing_model_stops_the_push(hub, model, capsys, name, message):
    hub.add("model", "user/empty")
    assert push(model=name) == 2
    assert message in capsys.readouterr().err
    assert ("space", SPACE) not in hub.repositories


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--private"], "is public, so --private cannot hold"), ([], "the name is taken: what is there has no fashion")],
)
def test_other_space_is_not_overwritten(hub, model, capsys, options, message):
    space = hub.add("space", SPACE, {"Dockerfile": b"FROM debian"})
    assert push(*options) == 2
    assert message in capsys.readouterr().err
    assert (set(space.head), space.variables) == ({".gitattributes", "Dockerfile"}, {})


def test_commit_without_its_variable_is_reported(hub, model, capsys):
    hub.fault("/variables", "500")
    assert push() == 2
    printed = capsys.readouterr()
    assert hub.repositories["space", SPACE].branches["main"] in printed.out
    assert f"{SPACE} is committed, but its variable FASHION_MODEL is unchanged: the Hub is out of order" in printed.err


@pytest.mark.parametrize("where", ["PUT /lfs/", "/commit/"])
def test_failing_hub_leaves_the_old_space(hub, model, capsys, where):
    assert push() == 0
    space = hub.repositories["space", SPACE]
    serving = dict(space.variables)
    model.commit({**model.head, "notes.txt": b""})
    hub.stored.clear()
    hub.fault(where, "403")
    assert push() == 2
    assert f"{SPACE}: the token may not do that (status 403" in capsys.readouterr().err
    assert space.variables == serving

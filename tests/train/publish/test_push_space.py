"""Deploying the Space to a loopback Hub, and starting what was deployed."""

import pytest
import yaml
from gradio_client import Client, handle_file

from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from tests.conftest import ROOT, contents, running_app
from train.__main__ import main

SPACE, MODEL = "user/page", "user/classifier"


@pytest.fixture
def model(hub, pushing, trained):
    return hub.add("model", MODEL, contents(trained))


def test_a_space_that_was_pushed_starts_elsewhere_and_predicts(hub, model, tmp_path):
    """Only its files, in an empty folder, with the variable that the Space would set."""
    model.tags["v1"] = commit = model.branches["main"]
    assert main(["push-space", "--space", SPACE, "--model", f"{MODEL}@v1"]) == 0
    space = hub.repositories["space", SPACE]
    assert space.sdk == "gradio"
    assert space.variables == {"FASHION_MODEL": f"{MODEL}@{commit}"}
    for name, content in space.head.items():
        (tmp_path / "space" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / name).write_bytes(content)
    reach_hub = {"HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1"}
    with running_app(tmp_path / "space", **reach_hub, **space.variables) as address:
        client = Client(address, verbose=False)
        answer = client.predict(handle_file(ROOT / "fashion_model/examples/2650.jpg"), api_name="/predict")
        properties = [component["props"] for component in client.config["components"]]
    (line,) = [p["value"] for p in properties if p.get("elem_id") == "checkpoint"]
    assert f"{MODEL}@{commit}" in line
    assert [len(label["confidences"]) > 1 for label in answer[:4]] == [True] * 4


def test_the_space_holds_what_it_needs_and_no_more(hub, model):
    assert main(["push-space", "--space", SPACE, "--model", MODEL]) == 0
    files = hub.repositories["space", SPACE].head
    weights = {path.relative_to(ROOT).as_posix() for path in DEFAULT_CHECKPOINT.glob("model*")}
    assert len(weights) >= 1
    assert {"app.py", "requirements.txt", "README.md", *weights} < set(files)
    assert not [name for name in files if name.startswith(("train/", "tests/", "data_prep/")) or "__pycache__" in name]
    assert max(len(content) for content in files.values()) < 10_000_000
    _, front, body = files["README.md"].decode().split("---\n", 2)
    ours = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front) == yaml.safe_load(ours[1]) | {"models": [MODEL]}
    assert body.strip() == ours[2].strip()


def test_an_update_removes_our_old_files_and_keeps_the_owners(hub, model):
    space = hub.add(
        "space", SPACE, {"fashion_model/__init__.py": b"", "fashion_model/old.py": b"", "notes.txt": b"the owner's"}
    )
    assert main(["push-space", "--space", SPACE, "--model", MODEL]) == 0
    assert "fashion_model/old.py" not in space.head
    assert "notes.txt" in space.head
    assert len(space.commits) == 2


@pytest.mark.parametrize("hidden", [None, "private", "gated"])
def test_a_space_that_cannot_see_its_model_is_told_of(hub, model, capsys, hidden):
    if hidden:
        setattr(model, hidden, True)
    assert main(["push-space", "--space", SPACE, "--model", MODEL]) == 0
    assert ("needs a secret HF_TOKEN" in capsys.readouterr().out) is bool(hidden)


def test_a_public_space_does_not_become_private_in_silence(hub, model, capsys):
    space = hub.add("space", SPACE)
    assert main(["push-space", "--space", SPACE, "--model", MODEL, "--private"]) == 2
    assert "is public, so --private cannot hold" in capsys.readouterr().err
    assert len(space.commits) == 1


def test_a_commit_without_its_variable_is_told_of(hub, model, capsys):
    hub.fault("/variables", "500")
    assert main(["push-space", "--space", SPACE, "--model", MODEL]) == 2
    printed = capsys.readouterr()
    assert hub.repositories["space", SPACE].branches["main"] in printed.out
    assert f"{SPACE} is committed, but its variable FASHION_MODEL is unchanged: the Hub is out of order" in printed.err


def test_one_command_leads_from_a_checkpoint_to_its_space(hub, pushing, evaluated):
    arguments = ["push-to-hub", "--checkpoint", str(evaluated), "--repo", MODEL, "--space", SPACE]
    assert main(arguments) == 0
    pushed = hub.repositories["model", MODEL]
    assert hub.repositories["space", SPACE].variables == {"FASHION_MODEL": f"{MODEL}@{pushed.branches['main']}"}
    assert f"spaces/{SPACE}".encode() in pushed.head["README.md"]


@pytest.mark.parametrize(
    ("model_named", "message"),
    [
        ("user/nowhere", "user/nowhere: there is no such repository"),
        (f"{MODEL}@v9", f"{MODEL}: it has no such revision"),
        ("user/empty", "user/empty: it holds no label_encoders.json"),
    ],
)
def test_a_model_that_is_not_there_stops_it(hub, model, capsys, model_named, message):
    hub.add("model", "user/empty")
    assert main(["push-space", "--space", SPACE, "--model", model_named]) == 2
    assert message in capsys.readouterr().err
    assert ("space", SPACE) not in hub.repositories


def test_a_name_that_another_space_has_is_not_overwritten(hub, model, capsys):
    space = hub.add("space", SPACE, {"Dockerfile": b"FROM debian"})
    assert main(["push-space", "--space", SPACE, "--model", MODEL]) == 2
    assert "the name is taken" in capsys.readouterr().err
    assert (set(space.head), space.variables) == ({".gitattributes", "Dockerfile"}, {})


@pytest.mark.parametrize("where", ["PUT /lfs/", "/commit/"])
def test_a_failing_hub_is_a_sentence_and_leaves_the_old_space(hub, model, capsys, where):
    assert main(["push-space", "--space", SPACE, "--model", MODEL]) == 0
    space = hub.repositories["space", SPACE]
    serving = dict(space.variables)
    model.commit({**model.head, "notes.txt": b""})
    hub.stored.clear()
    hub.fault(where, "403")
    assert main(["push-space", "--space", SPACE, "--model", MODEL]) == 2
    assert f"{SPACE}: the token may not do that (status 403" in capsys.readouterr().err
    assert space.variables == serving

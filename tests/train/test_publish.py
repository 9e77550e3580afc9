"""Pushing a checkpoint and the Space to a loopback Hub, and starting what was pushed."""

import shutil
import subprocess
import time

import pytest
import torch
import yaml
from gradio_client import Client, handle_file
from huggingface_hub import ModelCard, constants

from fashion_model.attributes import LabelEncoders
from fashion_model.checkpoint import load_checkpoint, read_json, save_checkpoint, write_json
from fashion_model.hub import HubError
from tests.conftest import ATTRIBUTES, ROOT, contents, logits, running_app
from tests.hub import TOKEN
from tests.train.conftest import write_metrics
from train.__main__ import main
from train.publish.push import files_of_space

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


def test_pushed_files_load_by_every_revision(hub, push, evaluated, tmp_path, tiny_model, capsys):
    (evaluated / "training.json").write_text('{"hours": 1.5}')
    expected = contents(evaluated)
    for own in ("notes.txt", "model_mine.safetensors", "report/mine.csv", "figures/mine.png"):
        (evaluated / own).write_text("the owner's")
    assert push("--tag", "v1") == 0
    address, commit, tagged = capsys.readouterr().out.splitlines()
    repository = hub.repositories["model", MODEL]
    assert (address, tagged) == (f"{hub.address}/{MODEL}/commit/{commit}", "tagged v1")
    assert (repository.branches, repository.tags) == ({"main": commit}, {"v1": commit})
    assert len(repository.commits) == 2  # the one that creates it, and one more
    del expected["training/state.pt"]
    assert repository.head == {**expected, "README.md": repository.head["README.md"], ".gitattributes": b""}
    for revision in (None, "v1", commit):
        loaded = load_checkpoint(MODEL, revision=revision, cache_dir=tmp_path / f"cache {revision}")
        assert torch.equal(logits(loaded.model), logits(tiny_model))


def test_second_push_deletes_only_its_own_files(hub, push, evaluated, tiny_model, tiny_encoders):
    save_checkpoint(evaluated, tiny_model, tiny_encoders, max_shard_size="200KB")
    write_metrics(evaluated)
    assert push() == 0
    repository = hub.repositories["model", MODEL]
    sharded = dict(repository.head)
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
    repository = hub.repositories["model", MODEL]
    assert repository.private
    card = ModelCard(repository.head["README.md"].decode())
    data = card.data
    assert (data.pipeline_tag, data.license, data.library_name) == ("image-classification", "mit", "pytorch")
    domains = read_json(evaluated / "metrics.json")["splits"]["test"]["domains"]
    assert {(r.dataset_config, r.metric_name): r.metric_value for r in data.eval_results} == {
        (domain, f"{a.title}: prediction accepted"): metrics["attributes"][a.name]["accuracy"]
        for domain, metrics in domains.items()
        for a in ATTRIBUTES
    }
    assert {r.dataset_split for r in data.eval_results} == {"test"}
    assert f'from_pretrained("{MODEL}")' in card.text


def test_dry_run_sends_no_request(hub, push, capsys):
    assert push("--dry-run", "--space", SPACE) == 0
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed
    assert f"https://huggingface.co/spaces/{SPACE}" in printed
    assert not hub.requests


def rename_split(folder):
    document = read_json(folder / "metrics.json")
    document["splits"]["validation"] = document["splits"].pop("test")
    write_json(folder / "metrics.json", document)


def change_config(folder):
    write_json(folder / "config.json", read_json(folder / "config.json") | {"fashion_threshold": 1.0})


def change_labels(folder):
    labels = {name: of_name[::-1] for name, of_name in load_checkpoint(folder).encoders.labels.items()}
    LabelEncoders(labels).save(folder / "label_encoders.json", ATTRIBUTES)


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
    ],
)
def test_checkpoint_not_measured_as_it_is_is_refused(hub, refused, evaluated, change, message):
    change(evaluated)
    refused(message)
    assert not hub.requests


def test_missing_rights_are_a_sentence(hub, refused, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    refused("push-to-hub: there is no token: `hf auth login` stores one, or set HF_TOKEN\n")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused("user/classifier: the token is not valid (status 401")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    refused("the token may not do that (status 403: You don't have the rights", "--repo", "other/classifier")
    refused("no/such/name: it cannot be the name of a Hub repository", "--repo", "no/such/name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE is set")
    assert not hub.repositories


def test_tag_or_public_repository_stops_the_push(hub, refused):
    repository = hub.add("model", MODEL)
    repository.tags["v1"] = before = repository.branches["main"]
    refused("the tag v1 exists already", "--tag", "v1")
    refused("is public", "--private")
    assert repository.branches["main"] == before


def test_push_during_another_push_is_refused(hub, refused):
    repository = hub.add("model", MODEL)

    def push_first(request):
        if "/preupload/" in request.url.path:
            repository.commit({"theirs.txt": b"first"})

    hub.before = push_first
    refused("someone else has pushed meanwhile")
    assert repository.head == {"theirs.txt": b"first"}


def test_name_of_something_else_is_not_overwritten(hub, refused):
    files = {".gitattributes": b"", "config.json": b"{}", "model-00001-of-00002.safetensors": b"another network's"}
    repository = hub.add("model", MODEL, files)
    refused("the name is taken: what is there has no label_encoders.json")
    assert repository.head == files


STEPS = {
    "whoami": "/whoami",
    "create": "/repos/create",
    "info": f"GET /api/models/{MODEL}",
    "card": "/validate-yaml",
    "preupload": "/preupload/",
    "batch": "/objects/batch",
    "upload": "PUT /lfs/",
    "verify": "POST /lfs/",
    "commit": "/commit/",
}
FAULTS = [(step, "503") for step in STEPS] + [("info", "403"), ("upload", "403"), ("create", "drop")]
FAULTS += [("commit", kind) for kind in ("401", "412", "429", "page", "drop")]


@pytest.mark.parametrize(("step", "kind"), FAULTS)
def test_failed_push_leaves_the_old_revision(hub, push, refused, evaluated, tiny_model, tiny_encoders, step, kind):
    assert push() == 0
    repository = hub.repositories["model", MODEL]
    old = repository.branches["main"]
    with torch.no_grad():
        tiny_model.heads.linear["season"].bias.add_(1)
    save_checkpoint(evaluated, tiny_model, tiny_encoders)
    write_metrics(evaluated)
    hub.fault(STEPS[step], kind)
    refused(f"push-to-hub: {MODEL}: ", "--timeout", "5")
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
    repository = hub.add("model", MODEL)
    hub.fault("/commit/", "lose", times=1)
    refused("but there is a new commit; if it is yours, the same command again does the rest", "--tag", "v1")
    assert "model.safetensors" in repository.head
    assert push("--tag", "v1") == 0
    assert repository.resolve("v1") == repository.branches["main"]


def test_fault_after_the_commit_names_what_was_done(hub, push, capsys):
    hub.fault("/tag/", "500")
    assert push("--tag", "v1") == 2
    printed = capsys.readouterr()
    assert hub.repositories["model", MODEL].branches["main"] in printed.out
    assert "committed, but not tagged" in printed.err


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
    assert space.sdk == "gradio"
    assert space.variables == {"FASHION_MODEL": f"{MODEL}@{commit}"}
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
    assert [len(label["confidences"]) > 1 for label in outputs[:4]] == [True] * 4


def test_space_holds_the_app_and_the_package(hub, model):
    assert push_space() == 0
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
    assert push_space() == 0
    assert not old & set(space.head)
    assert own < set(space.head)
    assert len(space.commits) == 2


@pytest.mark.parametrize("hidden", [None, "private", "gated"])
def test_hidden_model_needs_a_secret(hub, model, capsys, hidden):
    if hidden:
        setattr(model, hidden, True)
    assert push_space() == 0
    assert ("needs a secret HF_TOKEN" in capsys.readouterr().out) is bool(hidden)


def test_one_command_pushes_checkpoint_and_space(hub, push):
    assert push("--space", SPACE) == 0
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
    assert push_space(model=name) == 2
    assert message in capsys.readouterr().err
    assert ("space", SPACE) not in hub.repositories


def test_other_space_is_not_overwritten(hub, model, capsys):
    space = hub.add("space", SPACE, {"Dockerfile": b"FROM debian"})
    for options, message in ((["--private"], "is public, so --private"), ([], "taken: what is there has no fashion")):
        assert push_space(*options) == 2
        assert message in capsys.readouterr().err
    assert (set(space.head), space.variables) == ({".gitattributes", "Dockerfile"}, {})


def test_failing_hub_leaves_the_old_space(hub, model, capsys):
    assert push_space() == 0
    space = hub.repositories["space", SPACE]
    serving = dict(space.variables)
    hub.fault("/variables", "500")
    assert push_space() == 2
    assert f"{SPACE} is committed, but its variable FASHION_MODEL is unchanged: the Hub is" in capsys.readouterr().err
    hub.faults.clear()
    model.commit({**model.head, "notes.txt": b""})
    hub.stored.clear()
    hub.fault("PUT /lfs/", "403")
    assert push_space() == 2
    assert f"{SPACE}: the token may not do that (status 403" in capsys.readouterr().err
    assert space.variables == serving


def test_embedded_default_is_ready(capsys):
    assert main(["check-release"]) == 0
    assert "ready" in capsys.readouterr().out


def test_parts_that_do_not_fit_are_named(evaluated, capsys):
    check = ["check-release", "--checkpoint", str(evaluated)]
    (evaluated / "trained_on.txt").write_text("1163\n")
    (evaluated / "README.md").write_text("another card")
    (evaluated / "report" / "report.html").unlink()
    assert main(check) == 2
    printed = capsys.readouterr().err
    for problem in ("it is not calibrated", "the model card is not", "README.md does not show", "there is no report"):
        assert problem in printed
    change_config(evaluated)
    assert main(check) == 2
    assert "belongs to other weights or another calibration" in capsys.readouterr().err

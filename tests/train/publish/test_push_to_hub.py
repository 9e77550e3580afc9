"""Pushing a checkpoint to a loopback Hub and loading it back."""

import json
import time

import pytest
import torch
from huggingface_hub import ModelCard, constants

from fashion_model.attributes import LabelEncoders
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, load_checkpoint, read_checkpoint, save_checkpoint
from tests.conftest import ATTRIBUTES, contents, logits
from tests.hub import TOKEN
from tests.train.conftest import borrow_metrics
from train.__main__ import main

NAME = "user/classifier"


def push(checkpoint, *more):
    return main(["push-to-hub", "--checkpoint", str(checkpoint), "--repo", NAME, *more])


def test_what_is_pushed_loads_by_branch_tag_and_commit(hub, pushing, evaluated, tmp_path, tiny_model, capsys):
    assert push(evaluated, "--tag", "v1") == 0
    address, commit, tagged = capsys.readouterr().out.splitlines()
    repository = hub.repositories["model", NAME]
    assert (address, tagged) == (f"{hub.address}/{NAME}/commit/{commit}", "tagged v1")
    assert repository.branches == {"main": commit}
    assert repository.tags == {"v1": commit}
    assert not repository.private
    assert len(repository.commits) == 2  # the one that creates it, and one more
    ours = {name: content for name, content in contents(evaluated).items() if not name.startswith("training/")}
    pushed = {**ours, "README.md": repository.head["README.md"], ".gitattributes": b""}
    assert repository.head == pushed
    for revision in (None, "main", "v1", commit):
        loaded = load_checkpoint(NAME, revision=revision, cache_dir=tmp_path / f"cache {revision}")
        assert torch.equal(logits(loaded.model), logits(tiny_model))


def test_a_second_push_replaces_what_the_first_left_and_nothing_else(
    hub, pushing, evaluated, tiny_model, tiny_encoders
):
    save_checkpoint(evaluated, tiny_model, tiny_encoders, max_shard_size="200KB")
    borrow_metrics(evaluated)
    assert push(evaluated) == 0
    repository = hub.repositories["model", NAME]
    shards = {file for file in repository.head if file.startswith("model-")}
    assert len(shards) > 1
    repository.commit({**repository.head, "notes.txt": b"the owner's"})
    save_checkpoint(evaluated, tiny_model, tiny_encoders)
    borrow_metrics(evaluated)
    assert push(evaluated) == 0
    assert not shards & set(repository.head)
    assert {"model.safetensors", "notes.txt"} < set(repository.head)


def test_the_same_again_is_no_error(hub, pushing, evaluated):
    assert push(evaluated) == 0
    first = dict(hub.repositories["model", NAME].head)
    assert push(evaluated) == 0
    assert hub.repositories["model", NAME].head == first


def test_the_cards_metadata_holds_the_figures_of_metrics_json(hub, pushing, evaluated):
    assert push(evaluated, "--private") == 0
    repository = hub.repositories["model", NAME]
    assert repository.private
    card = ModelCard(repository.head["README.md"].decode())
    data = card.data
    assert (data.pipeline_tag, data.license, data.library_name) == ("image-classification", "mit", "pytorch")
    assert data.datasets == ["ashraq/fashion-product-images-small"]
    metrics = json.loads((evaluated / "metrics.json").read_text())["splits"]["test"]
    phone = metrics["phone"]["attributes"]
    of_phone, of_catalogue = data.eval_results[: len(phone)], data.eval_results[len(phone) :]
    assert {r.metric_name: r.metric_value for r in of_phone} == {
        f"{a.title}: prediction accepted": phone[a.name]["accuracy"] for a in ATTRIBUTES if a.name in phone
    }
    assert len(phone) == 3
    found = {(r.dataset_config, r.metric_name): r.metric_value for r in of_catalogue}
    expected = {
        (domain, f"{attribute.title}: {name}"): metrics[section]["attributes"][attribute.name][key]
        for domain, section in ((None, "thumbnails"), ("high-resolution", "high_resolution"))
        for attribute in ATTRIBUTES
        for name, key in (("accuracy", "accuracy"), ("macro F1", "macro_f1"))
    }
    assert found == expected
    assert {r.dataset_split for r in data.eval_results} == {"test"}
    assert f'from_pretrained("{NAME}")' in card.text
    assert "Client(" in card.text


def test_a_dry_run_prints_and_asks_nothing(hub, evaluated, capsys):
    assert push(evaluated, "--dry-run", "--space", "user/page") == 0
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed
    assert "https://huggingface.co/spaces/user/page" in printed
    assert not hub.requests


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{}", "config.json"),
        ("metrics.json", None, "run train evaluate first"),
        ("metrics.json", "{}", "run train evaluate first"),
        ("metrics.json", '{"digests": {}, "splits": {}}', "damaged or was exchanged"),
        ("model.safetensors", "no weights", "damaged or cut off"),
    ],
)
def test_what_is_not_fit_to_be_shown_is_not_pushed(hub, pushing, evaluated, capsys, file, content, message):
    (evaluated / file).unlink()
    if content is not None:
        (evaluated / file).write_text(content)
    assert push(evaluated) == 2
    assert message in capsys.readouterr().err
    assert not hub.requests


def test_a_checkpoint_without_metrics_of_the_test_split_is_not_pushed(hub, pushing, evaluated, capsys):
    document = json.loads((evaluated / "metrics.json").read_text())
    document["splits"]["validation"] = document["splits"].pop("test")
    (evaluated / "metrics.json").write_text(json.dumps(document))
    assert push(evaluated) == 2
    assert "has no metrics of the test split; run train evaluate" in capsys.readouterr().err
    assert not hub.requests


def test_figures_of_what_the_checkpoint_was_before_are_not_pushed(
    hub, pushing, evaluated, tiny_model, tiny_encoders, capsys
):
    document = json.loads((evaluated / "config.json").read_text())
    with torch.no_grad():
        tiny_model.heads.linear["season"].bias.add_(1)
    other_labels = LabelEncoders({n: (*labels[::-1],) for n, labels in tiny_encoders.labels.items()})
    for change, message in (
        (
            lambda: (evaluated / "config.json").write_text(json.dumps(document | {"fashion_threshold": 1.0})),
            "belongs to other weights or another calibration",
        ),
        (
            lambda: other_labels.save(evaluated / "label_encoders.json", ATTRIBUTES),
            "label_encoders.json is damaged or was exchanged",
        ),
        (lambda: save_checkpoint(evaluated, tiny_model, tiny_encoders), "run train evaluate first"),
    ):
        borrow_metrics(evaluated)
        change()
        assert push(evaluated) == 2
        assert message in capsys.readouterr().err
    assert not hub.requests


def test_without_a_token_or_the_right_to_write_there_is_a_sentence(hub, pushing, evaluated, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert push(evaluated) == 2
    assert capsys.readouterr().err == "push-to-hub: there is no token: `hf auth login` stores one, or set HF_TOKEN\n"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert push(evaluated) == 2
    assert "user/classifier: the token is not valid (status 401" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(["push-to-hub", "--checkpoint", str(evaluated), "--repo", "other/classifier"]) == 2
    assert "the token may not do that (status 403: You don't have the rights" in capsys.readouterr().err
    assert main(["push-to-hub", "--checkpoint", str(evaluated), "--repo", "no/such/name"]) == 2
    assert "no/such/name: it cannot be the name of a Hub repository" in capsys.readouterr().err
    assert not hub.repositories


def test_a_tag_or_a_public_repository_that_is_in_the_way_stops_the_push(hub, pushing, evaluated, capsys):
    repository = hub.add("model", NAME)
    repository.tags["v1"] = before = repository.branches["main"]
    assert push(evaluated, "--tag", "v1") == 2
    assert "the tag v1 exists already" in capsys.readouterr().err
    assert push(evaluated, "--private") == 2
    assert "is public" in capsys.readouterr().err
    assert repository.branches["main"] == before


def test_a_push_into_someone_elses_push_is_refused(hub, pushing, evaluated, capsys):
    repository = hub.add("model", NAME)

    def push_first(request):
        if "/preupload/" in request.url.path:
            repository.commit({"theirs.txt": b"first"})

    hub.before = push_first
    assert push(evaluated) == 2
    assert "someone else has pushed meanwhile" in capsys.readouterr().err
    assert repository.head == {"theirs.txt": b"first"}


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


HARMLESS = {("create", "403")}  # the repository is there already


@pytest.mark.parametrize(
    ("step", "kind"),
    [(step, kind) for step in STEPS for kind in ("403", "503", "drop")]
    + [("commit", kind) for kind in ("401", "404", "412", "429", "500", "page")],
)
def test_a_push_that_fails_leaves_the_old_revision(
    hub, pushing, evaluated, tmp_path, capsys, step, kind, tiny_model, tiny_encoders
):
    before = logits(tiny_model)
    assert push(evaluated) == 0
    repository = hub.repositories["model", NAME]
    old = repository.branches["main"]
    with torch.no_grad():
        tiny_model.heads.linear["season"].bias.add_(1)
    save_checkpoint(evaluated, tiny_model, tiny_encoders)
    borrow_metrics(evaluated)
    hub.fault(STEPS[step], kind)
    harmless = (step, kind) in HARMLESS
    assert push(evaluated, "--timeout", "5") == (0 if harmless else 2)
    hub.faults.clear()
    if not harmless:
        assert capsys.readouterr().err.startswith(f"push-to-hub: {NAME}: ")
        assert repository.branches["main"] == old
        assert torch.equal(logits(load_checkpoint(NAME, cache_dir=tmp_path / "cache").model), before)
        assert push(evaluated) == 0
    again = load_checkpoint(NAME, cache_dir=tmp_path / "cache", refresh=True)
    assert torch.equal(logits(again.model), logits(tiny_model))


@pytest.mark.parametrize(
    ("step", "kind"), [("upload", "503"), ("batch", "500"), ("preupload", "429"), ("upload", "drop")]
)
def test_a_push_gets_over_a_fault_that_passes(hub, pushing, evaluated, step, kind):
    hub.fault(STEPS[step], kind, times=1)
    assert push(evaluated) == 0


@pytest.mark.parametrize("step", ["create", "commit"])
def test_a_hub_that_hangs_ends_a_push(hub, pushing, evaluated, capsys, step):
    hub.fault(STEPS[step], "hang")
    start = time.monotonic()
    assert push(evaluated, "--timeout", "1") == 2
    assert "does not answer" in capsys.readouterr().err
    assert time.monotonic() - start < 60


def test_a_commit_whose_answer_got_lost_is_completed_by_the_same_command(hub, pushing, evaluated, capsys):
    hub.add("model", NAME)
    hub.fault("/commit/", "lose")
    assert push(evaluated, "--tag", "v1") == 2
    assert "but there is a new commit; if it is yours, the same command again does the rest" in capsys.readouterr().err
    repository = hub.repositories["model", NAME]
    assert "model.safetensors" in repository.head
    hub.faults.clear()
    assert push(evaluated, "--tag", "v1") == 0
    assert repository.resolve("v1") == repository.branches["main"]


def test_a_name_that_something_else_has_is_not_overwritten(hub, pushing, evaluated, capsys):
    files = {".gitattributes": b"", "config.json": b"{}", "model-00001-of-00002.safetensors": b"another network's"}
    repository = hub.add("model", NAME, files)
    assert push(evaluated) == 2
    assert "the name is taken: what is there has no label_encoders.json" in capsys.readouterr().err
    assert repository.head == files


def test_offline_nothing_is_pushed(hub, pushing, evaluated, capsys, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert push(evaluated) == 2
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
    assert not hub.requests


def test_a_fault_after_the_commit_says_what_was_done(hub, pushing, evaluated, capsys):
    hub.fault("/tag/", "500")
    assert push(evaluated, "--tag", "v1") == 2
    printed = capsys.readouterr()
    assert hub.repositories["model", NAME].branches["main"] in printed.out
    assert "committed, but not tagged" in printed.err


def test_the_embedded_default_can_be_pushed(hub, pushing, tmp_path):
    assert push(DEFAULT_CHECKPOINT) == 0
    loaded = load_checkpoint(NAME, cache_dir=tmp_path)
    own = read_checkpoint(DEFAULT_CHECKPOINT, "embedded default")
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), own.model.parameters(), strict=True))

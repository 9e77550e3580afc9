"""Loading from the Hub: the real client, a Hub on loopback."""

import json
import time

import pytest
import torch
from huggingface_hub import constants, hf_hub_download, snapshot_download

from fashion_model import CheckpointError, FashionClassifier, HubCheckpointError
from fashion_model.checkpoint import load_checkpoint, save_checkpoint
from fashion_model.hub import HubError, fetch
from tests.conftest import contents, logits
from tests.hub import TOKEN, sha256

NAME = "user/repo"
SPARE = 20  # seconds that a busy machine may need on top of a bound


@pytest.fixture
def repository(hub, tiny_checkpoint):
    return hub.add("model", NAME, contents(tiny_checkpoint))


@pytest.fixture
def load(tmp_path, tiny_model):
    """Load into the same cache; whether the weights are those of `tiny_model`."""
    before = logits(tiny_model)

    def loaded(source=NAME, cache="cache", **options):
        return torch.equal(logits(load_checkpoint(source, cache_dir=tmp_path / cache, **options).model), before)

    return loaded


@pytest.fixture
def push_other_weights(repository, tiny_checkpoint, tiny_model, tiny_encoders):
    """Commit other weights; returns the commit."""

    def push():
        with torch.no_grad():
            tiny_model.heads.linear["season"].bias.add_(1)
        save_checkpoint(tiny_checkpoint, tiny_model, tiny_encoders)
        return repository.commit(contents(tiny_checkpoint))

    return push


@pytest.mark.parametrize("revision", [None, "main", "v1", "commit"])
def test_second_start_sends_no_request(hub, repository, load, tmp_path, revision):
    commit = repository.tags["v1"] = repository.branches["main"]
    revision = commit if revision == "commit" else revision
    assert load(revision=revision)
    assert hub.requests
    hub.requests.clear()
    assert load(f"{NAME}@{revision}" if revision else NAME)
    assert load_checkpoint(NAME, revision=revision, cache_dir=tmp_path / "cache").name == f"{NAME}@{revision or commit}"
    assert not hub.requests


def test_only_what_is_read_is_downloaded(hub, tmp_path, tiny_model, tiny_encoders):
    save_checkpoint(tmp_path / "sharded", tiny_model, tiny_encoders, max_shard_size="200KB")
    read = contents(tmp_path / "sharded") | {"report/classes.json": b"{}"}
    hub.add("model", NAME, read | dict.fromkeys(("pytorch_model.bin", "README.md", "report/report.html"), b"{}"))
    options = {"revision": "main", "token": TOKEN, "cache_dir": tmp_path, "timeout": 10}
    directory = FashionClassifier.from_pretrained(NAME, **options).directory
    assert "model.safetensors.index.json" in read
    assert contents(directory) == read
    assert len([request for request in hub.requests if "GET" in request and "/resolve/" in request]) == len(read)


def test_branch_is_followed_only_with_refresh(hub, load, push_other_weights):
    assert load()
    push_other_weights()
    assert load()
    hub.fault("GET .*model.safetensors", "403", times=1)
    with pytest.raises(HubCheckpointError, match="status 403"):
        load(refresh=True)
    assert load()  # what is cached stays
    assert not load(refresh=True)
    assert not load()


def test_push_during_a_load_mixes_no_commits(hub, repository, load, push_other_weights):
    def push_once(request):
        if "/resolve/" in request.url.path and len(repository.commits) == 1:
            push_other_weights()

    hub.before = push_once
    assert load()
    assert len(repository.commits) == 2


def test_private_repository_needs_the_token(repository, load, monkeypatch):
    repository.private = True
    with pytest.raises(HubCheckpointError, match="no such repository, or the token may not see it"):
        load()
    for wrong in ("hf_wrong", "hf_ä"):
        with pytest.raises(HubCheckpointError, match="token is not valid"):
            load(token=wrong)
    assert load(token=f"{TOKEN}\n")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert load(token="", cache="another")  # an empty one is none
    repository.private = False
    monkeypatch.setenv("HF_TOKEN", " ")
    assert load(token="\n", cache="a third")


def test_flipped_byte_is_fetched_again(hub, repository, load):
    hub.fault("GET .*model.safetensors", "flip", times=2)
    with pytest.raises(HubCheckpointError, match=rf"{NAME}@main .* model.safetensors came twice with another checksum"):
        load()
    hub.fault("GET .*config.json", "flip", times=1)
    assert load()


def test_changed_byte_in_the_cache_is_found(hub, repository, load, tmp_path):
    digests = {file: sha256(repository.head[file]) for file in ("label_encoders.json", "model.safetensors")}
    repository.head["metrics.json"] = json.dumps({"digests": digests}).encode()
    assert load()
    (weights,) = tmp_path.glob("cache/*/snapshots/*/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    hub.fault("/api/", "503")
    with pytest.raises(HubCheckpointError, match=r"model\.safetensors is damaged or was exchanged"):
        load()
    hub.faults.clear()
    assert load()


KINDS = {"hang": "sent nothing for 1 s", "drop": "broke off", "page": "not a Hub|size", "503": "out of order"}
STATUSES = {"403 GatedRepo": "granted first", "404 RevisionNotFound": "no such revision", "429": "too many requests"}
STEPS = {"GET /api/.*/revision/": KINDS, "GET .*/tree/": KINDS, "HEAD ": KINDS | STATUSES, "GET .*/resolve/": KINDS}


@pytest.mark.parametrize(
    ("step", "kind", "message"), [(step, *fault) for step in STEPS for fault in STEPS[step].items()]
)
def test_fault_is_one_error_in_bounded_time(hub, repository, load, step, kind, message):
    hub.fault(step, kind)
    start = time.monotonic()
    with pytest.raises(HubCheckpointError, match=message) as caught:
        load(f"{NAME}@main", timeout=1)
    assert time.monotonic() - start < 1 + SPARE
    assert set(hub.requests.values()) == {1}
    assert str(caught.value).startswith(f"{NAME}@main cannot be loaded from the Hub: ")


@pytest.mark.parametrize("listed", [False, True])
def test_offline_a_warm_cache_is_enough(repository, load, monkeypatch, tmp_path, listed):
    """Also one that another program filled file by file, after the listing of the repository or without it."""
    repository.head["report/classes.json"] = b"{}"  # not needed
    if listed:
        snapshot_download(NAME, allow_patterns=["config.json"], cache_dir=tmp_path / "cache")
    for file in ("config.json", "label_encoders.json", "model.safetensors"):
        hf_hub_download(NAME, file, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load()
    with pytest.raises(HubCheckpointError, match="it is not whole in the cache, and HF_HUB_OFFLINE forbids"):
        load(cache="cold")


def test_cache_of_single_files_is_completed(repository, tmp_path, monkeypatch):
    hf_hub_download(NAME, "config.json", cache_dir=tmp_path)
    folder = fetch(NAME, patterns=["*.json"], cache_dir=tmp_path)
    assert contents(folder).keys() == {"config.json", "label_encoders.json", "label_words.json"}
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="the Hub cannot be reached"):
        fetch(NAME, patterns=["*"], cache_dir=tmp_path / "cold", timeout=5)


def test_pickle_is_not_taken_for_weights(hub, repository, load):
    repository.head["pytorch_model.bin"] = repository.head.pop("model.safetensors")
    with pytest.raises(HubCheckpointError, match=r"model\.safetensors is missing"):
        load()
    with pytest.raises(CheckpointError, match="neither a directory nor the name of a Hub repository"):
        load("/no/such/folder")

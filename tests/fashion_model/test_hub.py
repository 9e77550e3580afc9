"""Loading from the Hub: the real client, a Hub on loopback."""

import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
import torch
from huggingface_hub import constants

from fashion_model import CheckpointError, FashionClassifier, HubCheckpointError
from fashion_model.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import contents, logits
from tests.hub import TOKEN

NAME = "user/repo"
SPARE = 20  # seconds that a busy machine may need on top of a bound


@pytest.fixture
def saved(tiny_checkpoint):
    return tiny_checkpoint


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def repository(hub, saved):
    """The checkpoint on the Hub."""
    return hub.add("model", NAME, contents(saved))


def other_weights(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    return model


def test_branch_tag_and_commit_load_the_same_weights(repository, cache, tiny_model):
    commit = repository.branches["main"]
    repository.tags["v1"] = commit
    for source, revision, name in (
        (NAME, None, f"{NAME}@{commit}"),
        (NAME, "main", f"{NAME}@main"),
        (f"{NAME}@v1", None, f"{NAME}@v1"),
        (f"{NAME}@{commit}", None, f"{NAME}@{commit}"),
    ):
        loaded = load_checkpoint(source, revision=revision, cache_dir=cache / name.replace("/", "-"))
        assert loaded.name == name
        assert torch.equal(logits(loaded.model), logits(tiny_model))


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_sharded_and_half_weights_load(hub, tmp_path, cache, tiny_model, tiny_encoders, sharded, dtype):
    save_checkpoint(tmp_path / "c", tiny_model, tiny_encoders, dtype, max_shard_size="200KB" if sharded else "5GB")
    assert (tmp_path / "c" / "model.safetensors").exists() is not sharded
    hub.add("model", NAME, contents(tmp_path / "c"))
    loaded = load_checkpoint(NAME, cache_dir=cache)
    torch.testing.assert_close(logits(loaded.model), logits(tiny_model), rtol=0, atol=0 if dtype is None else 2e-2)


@pytest.mark.parametrize("revision", [None, "main", "v1", "commit"])
def test_a_second_start_asks_nothing(hub, repository, cache, revision):
    repository.tags["v1"] = repository.branches["main"]
    revision = repository.branches["main"] if revision == "commit" else revision
    load_checkpoint(NAME, revision=revision, cache_dir=cache)
    assert hub.requests
    hub.requests.clear()
    load_checkpoint(NAME, revision=revision, cache_dir=cache)
    assert not hub.requests


def test_only_what_is_read_is_downloaded(hub, repository, cache):
    repository.head["pytorch_model.bin"] = b"pickle"
    repository.head["README.md"] = b"card"
    repository.head["report/report.html"] = b"<script>"
    repository.head["report/classes.json"] = b"{}"
    directory = load_checkpoint(NAME, cache_dir=cache).directory
    assert {path.name for path in (directory / "report").iterdir()} == {"classes.json"}
    fetched = {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}
    assert fetched == {"config.json", "label_encoders.json", "model.safetensors", "classes.json"}


def test_a_branch_is_followed_when_asked_to(repository, cache, saved, tiny_model, tiny_encoders):
    first = load_checkpoint(NAME, cache_dir=cache)
    save_checkpoint(saved, other_weights(tiny_model), tiny_encoders)
    commit = repository.commit(contents(saved))
    assert load_checkpoint(NAME, cache_dir=cache).name == first.name
    refreshed = load_checkpoint(NAME, cache_dir=cache, refresh=True)
    assert refreshed.name == f"{NAME}@{commit}"
    assert torch.equal(logits(refreshed.model), logits(tiny_model))


def test_a_push_during_a_load_does_not_mix_commits(hub, repository, cache, saved, tiny_model, tiny_encoders):
    before = logits(tiny_model)
    save_checkpoint(saved, other_weights(tiny_model), tiny_encoders)

    def push_once(request):
        if "/resolve/" in request.url.path and len(repository.commits) == 1:
            repository.commit(contents(saved))

    hub.before = push_once
    loaded = load_checkpoint(NAME, cache_dir=cache)
    assert len(repository.commits) == 2
    assert torch.equal(logits(loaded.model), before)


def test_a_private_repository_needs_the_token(hub, saved, cache):
    hub.add("model", NAME, contents(saved), private=True)
    with pytest.raises(HubCheckpointError, match="no such repository, or the token may not see it"):
        load_checkpoint(NAME, cache_dir=cache)
    with pytest.raises(HubCheckpointError, match="token is not valid"):
        load_checkpoint(NAME, cache_dir=cache, token="hf_wrong")
    assert load_checkpoint(NAME, cache_dir=cache, token=TOKEN)


def test_a_flipped_byte_is_fetched_again(hub, repository, cache, tiny_model):
    hub.fault("GET .*model.safetensors", "flip", times=1)
    assert torch.equal(logits(load_checkpoint(NAME, cache_dir=cache).model), logits(tiny_model))
    assert hub.requests[f"GET /{NAME}/resolve/{repository.branches['main']}/model.safetensors"] == 2


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_byte_that_flips_twice_is_refused_and_not_kept(hub, repository, cache, tiny_model, file):
    hub.fault(f"GET .*{file}", "flip", times=2)
    with pytest.raises(HubCheckpointError, match=rf"{NAME}@main .* {file} came twice with another checksum"):
        load_checkpoint(NAME, cache_dir=cache)
    assert torch.equal(logits(load_checkpoint(NAME, cache_dir=cache).model), logits(tiny_model))


def test_a_file_that_changed_in_the_cache_is_fetched_again(hub, repository, cache, tiny_model):
    load_checkpoint(NAME, cache_dir=cache)
    (weights,) = cache.glob("models--user--repo/snapshots/*/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    assert torch.equal(logits(load_checkpoint(NAME, cache_dir=cache).model), logits(tiny_model))


def test_what_broke_off_is_completed(hub, repository, cache, tiny_model):
    hub.fault("GET .*model.safetensors", "truncate", times=2)
    assert torch.equal(logits(load_checkpoint(NAME, cache_dir=cache).model), logits(tiny_model))


def test_an_interrupted_load_is_not_taken_for_a_whole_one(hub, repository, cache, tiny_model):
    hub.fault(".*model.safetensors", "403", times=1)
    with pytest.raises(HubCheckpointError, match=r"may not do that \(status 403"):
        load_checkpoint(NAME, cache_dir=cache)
    assert torch.equal(logits(load_checkpoint(NAME, cache_dir=cache).model), logits(tiny_model))


STEPS = {"revision": "GET /api/.*/revision/", "tree": "GET .*/tree/", "head": "HEAD .*", "file": "GET .*/resolve/.*"}
KINDS = {
    "hang": "sent nothing for 1 s",
    "drop": "broke off|sent nothing for 1 s",
    "page": "not a Hub|not seem to be served|checksum|size",
    "truncate": "broke off|sent nothing for 1 s|not a Hub|size",
    "size": "size|not a Hub|sent nothing for 1 s|checksum",
    "401": "token|no such repository|status 401",
    "403": "status 403",
    "403 GatedRepo": "granted first",
    "404 RepoNotFound": "no such repository",
    "404 RevisionNotFound": "no such revision",
    "412": "status 412",
    "429": "too many requests|sent nothing for 1 s",
    "500": "out of order|sent nothing for 1 s",
    "503": "out of order|sent nothing for 1 s",
}


@pytest.mark.parametrize(
    ("step", "kind"),
    [(step, kind) for step, kind in product(STEPS, KINDS) if step != "head" or kind not in ("size", "truncate")],
)
def test_every_fault_ends_in_one_kind_of_error_within_its_time(hub, repository, cache, step, kind):
    """But for those that a HEAD, which has no body, cannot have."""
    hub.fault(STEPS[step], kind)
    start = time.monotonic()
    with pytest.raises(HubCheckpointError, match=KINDS[kind]) as caught:
        load_checkpoint(f"{NAME}@main", cache_dir=cache, timeout=1)
    assert time.monotonic() - start < 1 + SPARE
    assert (caught.value.repository, caught.value.revision) == (NAME, "main")
    assert str(caught.value) == f"{NAME}@main cannot be loaded from the Hub: {caught.value.reason}"


def test_a_hub_that_is_slow_but_sends_is_waited_for(hub, repository, cache, tiny_model):
    hub.fault("GET .*model.safetensors", "drip")
    loaded = load_checkpoint(NAME, cache_dir=cache, timeout=1.5)
    assert torch.equal(logits(loaded.model), logits(tiny_model))


def test_a_transfer_by_xet_that_fails_is_an_error_too(hub, repository, cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    repository.xet = True
    with pytest.raises(HubCheckpointError, match="the transfer failed"):
        load_checkpoint(NAME, cache_dir=cache)
    assert any("xet" in request for request in hub.requests)


def test_a_refresh_that_fails_leaves_what_is_cached(hub, repository, cache, saved, tiny_model, tiny_encoders):
    before = logits(load_checkpoint(f"{NAME}@main", cache_dir=cache).model)
    save_checkpoint(saved, other_weights(tiny_model), tiny_encoders)
    repository.commit(contents(saved))
    hub.fault("GET .*model.safetensors", "403")
    with pytest.raises(HubCheckpointError, match="status 403"):
        load_checkpoint(f"{NAME}@main", cache_dir=cache, refresh=True)
    hub.requests.clear()
    assert torch.equal(logits(load_checkpoint(f"{NAME}@main", cache_dir=cache).model), before)
    assert not hub.requests


def test_a_body_without_an_end_is_cut_off(hub, repository, cache):
    hub.fault("GET .*config.json", "endless")
    with pytest.raises(HubCheckpointError, match="it sends more than it announced"):
        load_checkpoint(NAME, cache_dir=cache)


def test_a_cache_that_cannot_be_written_to_is_read(repository, cache, tiny_model):
    repository.tags["v1"] = repository.branches["main"]
    load_checkpoint(NAME, cache_dir=cache)
    references = cache / "models--user--repo" / "refs"
    references.rename(references.with_name("kept"))
    references.write_text("")  # where a folder has to be, so that nobody, root neither, can write into it
    loaded = load_checkpoint(f"{NAME}@v1", cache_dir=cache)
    assert torch.equal(logits(loaded.model), logits(tiny_model))


def test_a_file_of_another_size_is_fetched_again(hub, repository, cache, tiny_model):
    hub.fault("GET .*model.safetensors", "size", times=1)
    assert torch.equal(logits(load_checkpoint(NAME, cache_dir=cache).model), logits(tiny_model))


def test_the_error_can_be_sent_to_another_process():
    error = pickle.loads(pickle.dumps(HubCheckpointError(NAME, "v1", "the Hub is out of order")))
    assert str(error) == f"{NAME}@v1 cannot be loaded from the Hub: the Hub is out of order"


def test_what_is_wrong_with_the_weights_is_said_in_short_and_without_the_place(hub, repository, cache):
    repository.head["config.json"] = repository.head["config.json"].replace(b"test_efficientnet", b"efficientnet_v2_s")
    with pytest.raises(HubCheckpointError) as caught:
        load_checkpoint(NAME, cache_dir=cache)
    assert "model.safetensors does not fit config.json" in caught.value.reason
    assert len(caught.value.reason) < 500
    assert "\n" not in caught.value.reason
    assert str(cache) not in caught.value.reason


def test_a_hub_that_is_not_there_is_an_error_too(monkeypatch, cache):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubCheckpointError, match="the Hub cannot be reached"):
        load_checkpoint(NAME, cache_dir=cache, timeout=5)


def test_offline_a_warm_cache_answers_and_a_cold_one_is_an_error(repository, cache, monkeypatch, tiny_model):
    load_checkpoint(NAME, cache_dir=cache)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(logits(load_checkpoint(NAME, cache_dir=cache).model), logits(tiny_model))
    with pytest.raises(HubCheckpointError, match="HF_HUB_OFFLINE"):
        load_checkpoint(NAME, cache_dir=cache / "cold")


@pytest.mark.slow
def test_a_hub_that_hangs_does_not_keep_the_interpreter(hub, repository, cache):
    hub.fault("GET .*/resolve/.*model.safetensors", "hang")
    load = f"F.from_pretrained({NAME!r}, cache_dir={str(cache)!r}, timeout=1)"
    code = f"from fashion_model import FashionClassifier as F\n{load}"
    start = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert ended.returncode == 1
    assert "HubCheckpointError: user/repo@main cannot be loaded" in ended.stderr
    assert time.monotonic() - start < 60


def test_what_does_not_fit_together_is_refused(repository, cache):
    repository.head["config.json"] = repository.head["config.json"].replace(b'"season": 5', b'"season": 4')
    with pytest.raises(HubCheckpointError, match=r"label_encoders\.json has"):
        load_checkpoint(NAME, cache_dir=cache)


def test_without_weights_a_pickle_is_not_taken_instead(repository, cache):
    repository.head["pytorch_model.bin"] = repository.head.pop("model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_checkpoint(NAME, cache_dir=cache)


def test_several_threads_may_load_at_once(repository, cache, tiny_model):
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: load_checkpoint(NAME, cache_dir=cache), range(4)))
    assert all(torch.equal(logits(checkpoint.model), logits(tiny_model)) for checkpoint in loaded)


def test_the_classifier_takes_the_same_arguments(repository, cache):
    classifier = FashionClassifier.from_pretrained(NAME, revision="main", token=TOKEN, cache_dir=cache, timeout=10)
    assert classifier.name == f"{NAME}@main"

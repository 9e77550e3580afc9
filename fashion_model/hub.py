"""Repositories of the Hugging Face Hub on this disk: of one commit, unchanged on the way, and within bounded time.

https://huggingface.co/docs/huggingface_hub/guides/manage-cache describes the cache's layout.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, get_cached_repo_tree, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import filter_repo_objects
from huggingface_hub.utils import tqdm as hub_tqdm
from huggingface_hub.utils.sha import git_hash, sha_fileobj

DEFAULT_TIMEOUT = 30.0  # seconds
CHUNK = 8 * 1024  # bytes; of by itself 10 MiB the client tells only when they are whole, which can take minutes
GARBAGE = (ValueError, KeyError, TypeError, AttributeError, AssertionError)  # from the client, if a Hub answers so
FAULTS = (OSError, RuntimeError, httpx2.HTTPError, *GARBAGE)  # RuntimeError: from Xet, and from uploads with a cause


class HubError(Exception):
    """A repository cannot be read or written; the message is the reason, a sentence without its period."""


def fetch(
    repository: str,
    revision: str | None = None,
    *,
    patterns: Sequence[str],
    repo_type: str = "model",
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    refresh: bool = False,
) -> Path:
    """The folder in the cache with those files of one commit of `repository` that match `patterns`.

    `revision` is a branch, a tag or a commit; None for the default branch. Files that are cached already are taken
    without a single request, so a branch is followed only with `refresh`. Each file is compared with the checksum that
    the Hub announced for it, and fetched once more where they differ.

    HubError if there is nothing, if it is damaged twice, or after `timeout` seconds in which no part of a file came; a
    Hub that goes on sending is not cut off. ValueError if `repository` cannot be the name of one.
    """
    place: dict[str, Any] = {"repo_id": repository, "repo_type": repo_type, "cache_dir": cache_dir}
    try:
        folder = None if refresh else _cached(place, revision, patterns)
        return folder or _within(timeout, lambda watch: _download(place, revision, patterns, token, watch))
    except HFValidationError as error:
        raise ValueError(f"{repository!r} cannot be the name of a Hub repository") from error
    except FAULTS as error:
        raise HubError(reason(error)) from error


def _cached(place: dict[str, Any], revision: str | None, patterns: Sequence[str]) -> Path | None:
    """The cached folder, if it is known to be whole and its files are what they are called."""
    try:
        get_cached_repo_tree(**place, revision=revision)  # without it, whole or not cannot be told
        found = snapshot_download(**place, revision=revision, allow_patterns=list(patterns), local_files_only=True)
    except (CachedRepoTreeNotFoundError, LocalEntryNotFoundError):
        return None
    files = [path.relative_to(found).as_posix() for path in Path(found).rglob("*") if path.is_symlink()]
    links = [Path(found, file) for file in filter_repo_objects(files, allow_patterns=list(patterns))]
    return Path(found) if all(is_intact(link, link.readlink().name) for link in links) else None


def _download(
    place: dict[str, Any], revision: str | None, patterns: Sequence[str], token: str | bool | None, watch: Watch
) -> Path:
    # One file after the other: snapshot_download's threads would keep the interpreter from ending while a Hub hangs.
    constants.DOWNLOAD_CHUNK_SIZE = min(CHUNK, constants.DOWNLOAD_CHUNK_SIZE)
    api = HfApi(token=token)
    repository = {"repo_id": place["repo_id"], "repo_type": place["repo_type"]}
    commit = api.repo_info(**repository, revision=revision).sha
    tree = api.list_repo_tree(**repository, revision=commit, recursive=True)
    files = [entry for entry in tree if isinstance(entry, RepoFile)]
    for file in filter_repo_objects(files, allow_patterns=list(patterns), key=lambda file: file.path):
        _download_intact(file, {**place, "revision": commit, "token": token}, watch)
    # Nothing is left to download, but this also notes in the cache which files there are.
    folder = Path(snapshot_download(**place, revision=commit, token=token, allow_patterns=list(patterns)))
    if revision != commit:
        _note(folder, revision or constants.DEFAULT_REVISION)
    return folder


def _note(folder: Path, revision: str) -> None:
    """Point `revision` in the cache at the commit in `folder`, once that is complete."""
    ref = folder.parents[1] / "refs" / revision
    with suppress(OSError):  # a cache may be read-only; then a branch is asked for again next time
        ref.parent.mkdir(parents=True, exist_ok=True)
        new = ref.with_name(f"{ref.name}.{os.getpid()}.{threading.get_ident()}.new")
        new.write_text(folder.name)
        new.replace(ref)


def _download_intact(file: RepoFile, place: dict[str, Any], watch: Watch) -> None:
    """Download `file` unless it is there. HubError, and nothing in the cache, if it is damaged twice."""
    announced = file.lfs.sha256 if file.lfs else file.blob_id
    for again in (False, True):
        watch.expect(file.size)
        try:
            path = Path(hf_hub_download(**place, filename=file.path, force_download=again, tqdm_class=watch.bar))
        except OSError as error:
            if again or not str(error).startswith("Consistency check failed"):  # it came in another size
                raise
            continue
        if is_intact(path, announced):
            return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise HubError(f"{file.path} came twice with another checksum than the Hub announces, {announced}")


def is_intact(path: Path, announced: str) -> bool:
    """Whether a file has the checksum `announced`: its SHA-256, or as git counts it, the SHA-1 of a blob."""
    if not path.is_file():
        return False
    if len(announced) == 64:
        with path.open("rb") as file:
            return sha_fileobj(file).hex() == announced
    return git_hash(path.read_bytes()) == announced


class Watch:
    """How long nothing has come. Bytes that come again after a broken connection do not count."""

    def __init__(self):
        self._position = self._furthest = self._limit = 0
        self._last = time.monotonic()
        watch = self

        class Bar(hub_tqdm):
            def update(self, n: float | None = 1) -> bool | None:
                watch.advance(n or 0)
                return super().update(n)

        self.bar = Bar

    def expect(self, size: int) -> None:
        """A file of so many bytes comes next. Xet counts each twice: what it transfers, and what it puts together."""
        self._limit = self._position + 3 * size + CHUNK

    def advance(self, received: float) -> None:
        """HubError where the Hub sends far more than it announced."""
        self._position += received
        if self._position > self._limit:
            raise HubError("it sends more than it announced")
        if self._position > self._furthest:
            self._furthest, self._last = self._position, time.monotonic()

    def idle(self) -> float:
        """Seconds."""
        return time.monotonic() - self._last


def _within(timeout: float, work: Callable[[Watch], Path]) -> Path:
    """What `work` returns. HubError once its watch has been idle for `timeout` seconds.

    A request that hangs cannot be ended from outside, so its thread is left behind; it does not keep the interpreter.
    """
    watch = Watch()
    future: Future[Path] = Future()

    def run() -> None:
        try:
            future.set_result(work(watch))
        except BaseException as error:  # raised again in the waiting thread
            future.set_exception(error)

    threading.Thread(target=run, name="hub", daemon=True).start()
    while (left := timeout - watch.idle()) > 0:
        wait([future], left)
        if future.done():
            return future.result()
    raise HubError(f"the Hub sent nothing for {timeout:g} s")


def reason(error: BaseException) -> str:
    """What an error of the client means, for people: a sentence without its period."""
    meanings: tuple[tuple[Any, str], ...] = (
        (GatedRepoError, "access to it has to be granted first (a gated repository)"),
        (RevisionNotFoundError, "it has no such revision"),
        (RepositoryNotFoundError, "there is no such repository, or the token may not see it"),
        (HFValidationError, "it cannot be the name of a Hub repository"),
        (OfflineModeIsEnabled, "it is not whole in the cache, and HF_HUB_OFFLINE forbids to ask the Hub"),
    )
    for kind, text in meanings:
        if any(isinstance(e, kind) for e in _chain(error)):
            return text
    for refusal in _chain(error):
        if isinstance(refusal, HfHubHTTPError):
            return _meaning(refusal)
    meanings = (
        (httpx2.TimeoutException, "the Hub does not answer"),
        (httpx2.ConnectError, "the Hub cannot be reached"),
        (httpx2.HTTPError, "the connection to the Hub broke off"),
        (FileMetadataError, "what answers is not a Hub"),
        (EntryNotFoundError, "a file is missing"),
        (OSError, getattr(error, "strerror", None) or str(error).split("\n")[0].rstrip(".")),  # strerror has no path
        (GARBAGE, "what answers is not a Hub"),
    )
    for kind, text in meanings:
        if any(isinstance(e, kind) for e in _chain(error)):
            return text
    return f"the transfer failed ({(str(error).splitlines() or [type(error).__name__])[0][:200]})"


def _meaning(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    meaning = {
        401: "the token is not valid",
        403: "the token may not do that",
        412: "someone else has pushed meanwhile",
        429: "too many requests",
    }.get(status, "the Hub is out of order" if status >= 500 else "the Hub refuses")
    said = " ".join((error.server_message or "").split())
    return f"{meaning} (status {status}{': ' if said else ''}{said})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__

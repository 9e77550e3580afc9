"""Files of Hugging Face Hub repositories in the local cache: of one commit, unchanged, and within bounded time."""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, errors, get_cached_repo_tree, get_session, set_client_factory
from huggingface_hub.utils import filter_repo_objects, hf_raise_for_status

DEFAULT_TIMEOUT = 30.0  # seconds
CONNECT_TIMEOUT = 5.0  # seconds for each address of the Hub
ONCE = "X-Once"  # marks requests that are not repeated; its value is their timeout. It is not sent
GARBAGE = (ValueError, KeyError, TypeError, AttributeError, AssertionError)  # of the client, if no Hub answers
FAULTS = (OSError, RuntimeError, httpx2.HTTPError, *GARBAGE)  # RuntimeError: of uploads, with a cause
REASONS: tuple[tuple[Any, str], ...] = (
    (errors.GatedRepoError, "access to it has to be granted first (a gated repository)"),
    (errors.RevisionNotFoundError, "it has no such revision"),
    (errors.RepositoryNotFoundError, "there is no such repository, or the token may not see it"),
    (errors.HFValidationError, "it cannot be the name of a Hub repository"),
    (errors.OfflineModeIsEnabled, "it is not whole in the cache, and HF_HUB_OFFLINE forbids to ask the Hub"),
    (errors.HfHubHTTPError, ""),  # by its status
    ((httpx2.ConnectError, httpx2.ConnectTimeout), "the Hub cannot be reached"),
    (httpx2.TimeoutException, "the Hub does not answer"),
    ((httpx2.LocalProtocolError, UnicodeEncodeError), "the token is not valid"),  # it cannot be sent
    (httpx2.HTTPError, "the connection to the Hub broke off"),
    ((errors.FileMetadataError, *GARBAGE), "what answers is not a Hub"),
)
STATUSES = {
    401: "the token is not valid",
    403: "the token may not do that",
    412: "someone else has pushed meanwhile",
    429: "too many requests",
}
_lock = threading.Lock()


class HubError(Exception):
    """A repository cannot be read or written; the message is the reason, a sentence without its period."""


class Client(httpx2.Client):
    """The client of huggingface_hub with a timeout for every request; most have none.

    A failed request with the header ONCE is a HubError. Others are repeated for minutes, or huggingface_hub takes what
    the cache has, whole or not.
    """

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        once = request.headers.pop(ONCE, None)
        if once or request.extensions.get("timeout", {}).get("read") is None:
            seconds = float(once or self.timeout.read or DEFAULT_TIMEOUT)
            timeout = httpx2.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT))
            request.extensions["timeout"] = timeout.as_dict()
        try:
            response = super().send(request, **options)
            if once:
                hf_raise_for_status(response)
            return response
        except httpx2.HTTPError as error:
            if not once:
                raise
            silent = isinstance(error, httpx2.ReadTimeout)
            raise HubError(f"the Hub sent nothing for {once} s" if silent else reason(error)) from error


def use_client(timeout: float | None = None) -> None:
    """Have huggingface_hub send the requests of this process through `Client`. None keeps the timeout that it has.

    Xet is turned off: its transfers have no timeout.
    """
    constants.HF_HUB_DISABLE_XET = True
    with _lock:
        current = get_session()
        if timeout or not isinstance(current, Client):
            hooks = current.event_hooks
            set_client_factory(lambda: Client(event_hooks=hooks, follow_redirects=True, timeout=timeout))


def fetch(
    repository: str,
    revision: str | None = None,
    *,
    patterns: Sequence[str],
    needed: Sequence[str] = (),
    repo_type: str = "model",
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    refresh: bool = False,
) -> Path:
    """The folder in the cache with those files of one commit of `repository` that match `patterns`.

    `revision` is a branch, a tag or a commit; None for the default branch. Files that are cached already are taken
    without a single request, so a branch is followed only with `refresh`. What is downloaded is compared with the
    checksums on the Hub, and downloaded once more where they differ; with `refresh`, what was cached is too. Offline
    only files that match `needed` have to be there, if it is given: caches filled by other programs may lack the rest.

    HubError if there is nothing, if a file is damaged twice, or if the Hub sends nothing for `timeout` seconds.
    ValueError if `repository` cannot be the name of one.
    """
    token = (token.strip() or None) if isinstance(token, str) else token
    api = HfApi(token=token, headers={ONCE: f"{timeout:g}"})
    wanted: dict[str, Any] = {"repo_id": repository, "repo_type": repo_type, "cache_dir": cache_dir}
    allowed = list(patterns)
    try:
        if not refresh:
            with suppress(errors.CachedRepoTreeNotFoundError, errors.LocalEntryNotFoundError):
                local: dict[str, Any] = {"allow_patterns": allowed, "local_files_only": True}
                if not constants.is_offline_mode():
                    get_cached_repo_tree(**wanted, revision=revision)  # only with it incomplete snapshots are noticed
                elif needed:
                    local["allow_patterns"] = list(needed)
                return Path(api.snapshot_download(**wanted, revision=revision, **local))
        return _download(api, wanted, revision, allowed)
    except errors.HFValidationError as error:
        raise ValueError(f"{repository!r} cannot be the name of a Hub repository") from error
    except FAULTS as error:
        raise HubError(reason(error)) from error


def _download(api: HfApi, wanted: dict[str, Any], revision: str | None, patterns: list[str]) -> Path:
    use_client()
    commit = api.repo_info(wanted["repo_id"], repo_type=wanted["repo_type"], revision=revision).sha
    for _ in range(2):
        folder = Path(api.snapshot_download(**wanted, revision=commit, allow_patterns=patterns))
        if not folder.is_dir():  # no file matches
            return folder
        mismatches = api.verify_repo_checksums(**wanted, revision=commit).mismatches
        damaged = list(filter_repo_objects((file["path"] for file in mismatches), allow_patterns=patterns))
        if not damaged:
            api.resolve_revision(**wanted, revision=revision)  # the branch in the cache is this commit, now it is whole
            return folder
        for file in damaged:
            (folder / file).resolve().unlink()
    raise HubError(f"{damaged[0]} came twice with another checksum than the Hub announces")


def reason(error: BaseException) -> str:
    """What an error of the client means, for people: a sentence without its period."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    for kind, text in REASONS:
        for cause in causes:
            if isinstance(cause, errors.HfHubHTTPError) and kind is errors.HfHubHTTPError:
                status, message = cause.response.status_code, " ".join((cause.server_message or "").split())
                meaning = STATUSES.get(status, "the Hub is out of order" if status >= 500 else "the Hub refuses")
                return f"{meaning} (status {status}{': ' if message else ''}{message})"
            if isinstance(cause, kind):
                return text
    return getattr(error, "strerror", None) or str(error).split("\n")[0][:200].rstrip(".")

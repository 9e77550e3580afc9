"""What pushing a checkpoint and pushing a Space have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import httpx2
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, set_client_factory
from huggingface_hub.errors import LocalTokenNotFoundError

from fashion_model.hub import DEFAULT_TIMEOUT, NO_HUB, HubError, reason


@contextmanager
def clear_errors(repository: str) -> Iterator[None]:
    """Every fault of the Hub and of the way there becomes a HubError that names the repository."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise HubError("there is no token: `hf auth login` stores one, or set HF_TOKEN") from error
    except HubError as error:
        raise HubError(f"{repository}: {error}") from error
    except (OSError, RuntimeError, httpx2.HTTPError, *NO_HUB) as error:  # RuntimeError: an upload failed, see its cause
        raise HubError(f"{repository}: {reason(error)}") from error


def connect(timeout: float = DEFAULT_TIMEOUT) -> HfApi:
    """The Hub as the user whose token this machine holds. Requests fail that stand still for `timeout` seconds.

    By itself the client waits for ever. It repeats most requests up to five times. The setting is the process's.
    """
    set_client_factory(lambda: httpx2.Client(follow_redirects=True, timeout=timeout))
    api = HfApi()
    api.whoami()
    return api


def commit(
    api: HfApi,
    repository: str,
    files: Mapping[str, Path | bytes],
    *,
    ours: Sequence[str],
    message: str,
    repo_type: str = "model",
) -> CommitInfo:
    """Put `files` (path in the repository → content) there in one commit: all of them, or none.

    Files there that match one of `ours` and are not among them are deleted in the same commit, others stay.
    """
    head = api.repo_info(repository, repo_type=repo_type).sha
    there = api.list_repo_files(repository, repo_type=repo_type, revision=head)
    stale = [file for file in there if file not in files and any(fnmatch(file, pattern) for pattern in ours)]
    operations = [CommitOperationAdd(file, content) for file, content in files.items()]
    operations += [CommitOperationDelete(file) for file in stale]
    return api.create_commit(repository, operations, commit_message=message, repo_type=repo_type, parent_commit=head)


def add_timeout_argument(parser: argparse.ArgumentParser) -> None:
    help = "seconds that a request may stand still; most are repeated up to five times"
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT, help=help)

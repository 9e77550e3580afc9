"""Write to a repository on the Hub in one commit, which deletes no file of others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import filter_repo_objects

from fashion_model.hub import FAULTS, HubError, reason, use_client

CREATED_WITH = {".gitattributes", "README.md"}  # files of a repository created on the website


def files_in(folder: Path, patterns: Sequence[str], below: str = "") -> dict[str, Path]:
    """Path relative to `folder` → path of the files under `folder/below` that match one of `patterns`."""
    paths = (path for path in sorted((folder / below).rglob("*")) if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: names[name] for name in filter_repo_objects(names, allow_patterns=list(patterns))}


@contextmanager
def clear_errors(repository: str) -> Iterator[None]:
    """Errors of the Hub and of the network become a HubError that names the repository."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise HubError("there is no token: `hf auth login` stores one, or set HF_TOKEN") from error
    except HubError as error:
        raise HubError(f"{repository}: {error}") from error
    except FAULTS as error:
        raise HubError(f"{repository}: {reason(error)}") from error


def connect(timeout: float) -> HfApi:
    """The Hub's client with this machine's token. HubError if there is none or HF_HUB_OFFLINE is set.

    `timeout`: seconds that a request may stall; the client repeats most requests up to five times.
    """
    if constants.is_offline_mode():
        raise HubError("HF_HUB_OFFLINE is set")
    use_client(timeout)
    api = HfApi()
    api.whoami()
    return api


def create(api: HfApi, repository: str, private: bool, **kind: Any) -> None:
    """Create the repository if it does not exist; `kind` is for `create_repo`. HubError if it exists but is public."""
    api.create_repo(repository, private=private or None, exist_ok=True, **kind)
    if private and not api.repo_info(repository, repo_type=kind.get("repo_type")).private:
        raise HubError("it exists already and is public, so --private cannot hold")


def commit(
    api: HfApi,
    repository: str,
    files: Mapping[str, Path | bytes],
    *,
    ours: Sequence[str],
    sign: str,
    message: str,
    repo_type: str = "model",
) -> CommitInfo:
    """Write `files` (path in the repository → content) in one commit.

    Files in the repository that match a pattern of `ours` and are not among `files` are deleted in the same commit;
    others stay. HubError if the repository lacks `sign`, a file that all of this kind have, and is not new.
    """
    head = api.repo_info(repository, repo_type=repo_type).sha
    there = api.list_repo_files(repository, repo_type=repo_type, revision=head)
    if sign not in there and set(there) - CREATED_WITH:
        raise HubError(f"the name is taken: what is there has no {sign}, so it is something else")
    stale = filter_repo_objects((file for file in there if file not in files), allow_patterns=list(ours))
    operations = [CommitOperationAdd(file, content) for file, content in files.items()]
    operations += [CommitOperationDelete(file) for file in stale]
    try:
        return api.create_commit(
            repository, operations, commit_message=message, repo_type=repo_type, parent_commit=head
        )
    except FAULTS as error:
        with suppress(*FAULTS):
            refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
            if not refused and api.repo_info(repository, repo_type=repo_type).sha != head:
                why = "but there is a new commit; if it is yours, the same command again does the rest"
                raise HubError(f"{reason(error)}, {why}") from error
        raise

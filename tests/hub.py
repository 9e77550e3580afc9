"""A Hugging Face Hub on loopback for the real client: models, datasets and Spaces in memory, and faults on demand.

It keeps to what the client of huggingface_hub 2.4 was seen to ask for; large files go by plain LFS, not by Xet.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

TOKEN, USER = "hf_loopback", "user"
LARGE = 10_000  # bytes; larger files and weights are LFS files


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    kind: str  # model, dataset or space
    name: str
    private: bool = False
    gated: bool = False
    sdk: str | None = None
    xet: bool = False  # large files are announced as Xet's, whose storage here knows none
    variables: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # sha → path → content
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files):
        sha = hashlib.sha1(repr((self.kind, self.name, len(self.commits))).encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.branches["main"] = sha
        return sha

    def resolve(self, revision):
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return sha if sha in self.commits else None

    @property
    def head(self):
        return self.commits[self.branches["main"]]


@dataclass
class Fault:
    """What happens to the requests whose `METHOD path` matches; `times` of them, or all."""

    where: str  # regular expression
    kind: str  # hang, drop, lose, page, truncate, flip, size, drip, endless, or a status like 503 or "403 GatedRepo"
    times: int | None = None

    def applies(self, request):
        return self.times != 0 and re.search(self.where, f"{request.method} {request.url.path}") is not None


class Hub:
    """`repositories`, `faults` and `requests` (how often each METHOD PATH came) may be read and changed at any time."""

    def __init__(self, listener: socket.socket):
        self._listener = listener
        self.port = listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.reset()

    def reset(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.stored: dict[str, bytes] = {}  # LFS objects by sha256
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.before = lambda request: None  # called with each request

    @contextmanager
    def running(self):
        self._hanging, self._loop = None, None
        config = uvicorn.Config(_application(self), log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.release()
            server.should_exit = True
            thread.join(10)

    def release(self):
        """Let the requests go that hang."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hanging.set)

    async def hang(self):
        if self._hanging is None or self._hanging.is_set():
            self._loop, self._hanging = asyncio.get_running_loop(), asyncio.Event()
        await self._hanging.wait()

    def add(self, kind, name, files=None, **properties):
        repository = Repository(kind, name, **properties)
        repository.commit({".gitattributes": b"", **(files or {})})
        self.repositories[kind, name] = repository
        return repository

    def fault(self, where, kind, times=None):
        self.faults.append(Fault(where, kind, times))

    def take_fault(self, request):
        for fault in self.faults:
            if fault.applies(request):
                fault.times = None if fault.times is None else fault.times - 1
                return fault.kind
        return None


def listener():
    """Bound to a free port. asyncio sets TCP_NODELAY only where the protocol is named; else requests take 40 ms."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.bind(("127.0.0.1", 0))
    return found


def error(status, code=None, message="refused"):
    headers = {"X-Error-Code": code} if code else {}
    headers |= {"Retry-After": "0"} if status in (429, 500, 503) else {}
    return JSONResponse({"error": message}, status, headers | {"X-Error-Message": message})


def _application(hub):
    async def handle(request: Request):
        hub.requests[f"{request.method} {request.url.path}"] += 1
        body = await request.body()
        hub.before(request)
        kind = hub.take_fault(request)
        if kind == "hang":
            await hub.hang()
        if kind == "lose":  # it is done, but the answer gets lost
            answer(hub, request, body)
        if kind in ("hang", "drop", "lose"):
            return Dropped()
        if kind == "page":
            return Response("<html><body>Welcome to the hotel's network</body></html>", media_type="text/html")
        if kind == "endless":
            return StreamingResponse(junk())
        if kind in ("truncate", "flip", "size", "drip"):
            return damaged(answer(hub, request, body), kind)
        if kind is not None:
            status, _, code = kind.partition(" ")
            return error(int(status), code or None)
        return answer(hub, request, body)

    return Starlette(routes=[Route("/{path:path}", handle, methods=["GET", "HEAD", "POST", "PUT", "DELETE"])])


class Dropped:
    """The connection ends without an answer."""

    async def __call__(self, scope, receive, send):
        receive.__self__.transport.close()


class Truncated(Response):
    """The connection ends after half of what the header says."""

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        receive.__self__.transport.close()


class Dripping(Response):
    """The body comes in twelve pieces, within two seconds."""

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        size = -(-len(self.body) // 12)
        for start in range(0, len(self.body), size):
            await asyncio.sleep(2 / 12)
            await send({"type": "http.response.body", "body": self.body[start : start + size], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def junk():
    """Ends after a while, so that a client that reads on fails its test and no more."""
    for _ in range(2000):
        yield bytes(10_000)


def damaged(response, kind):
    content = response.body
    headers = {key: value for key, value in response.headers.items() if key != "content-length"}
    if kind == "drip":
        return Dripping(content, response.status_code, headers)
    if kind == "truncate":
        return Truncated(content, response.status_code, headers)
    if kind == "size":
        return Response(content + b"more", response.status_code, headers)
    return Response(bytes([content[0] ^ 1]) + content[1:], response.status_code, headers)


def answer(hub, request, body):
    """The Hub's answer to a request in order."""
    path, method = request.url.path, request.method
    given = request.headers.get("authorization", "")
    if given not in ("", f"Bearer {TOKEN}"):
        return error(401, None, "Invalid credentials in Authorization header")
    known = bool(given)
    if path == "/api/whoami-v2":
        return JSONResponse({"name": USER, "type": "user", "orgs": []}) if known else error(401)
    if path == "/api/validate-yaml":
        return validate_yaml(json.loads(body))
    if path == "/api/repos/create":
        return create(hub, json.loads(body), known)
    if path.startswith("/lfs/"):
        return store(hub, path.removeprefix("/lfs/"), method, body)
    found = re.fullmatch(r"/(?:(api)/(model|dataset|space)s/|(?:(dataset|space)s/)?)([^/]+/[^/]+?)(\.git)?(/.*)?", path)
    if not found:
        return error(404)
    kind, name, rest = found[2] or found[3] or "model", found[4], found[6] or ""
    repository = hub.repositories.get((kind, name))
    if repository is None or (repository.private and not known):
        return error(404 if known else 401, "RepoNotFound", "Repository not found")
    step, _, argument = rest.strip("/").partition("/")
    if method in ("POST", "PUT", "DELETE"):
        if not known:
            return error(401)
        return write(hub, repository, rest, argument, json_or_raw(body))
    if repository.gated and not known and step in ("resolve", "tree"):
        return error(403, "GatedRepo", "Access to this repository is restricted")
    return read(hub, repository, step, argument, request)


def json_or_raw(body):
    return SimpleNamespace(raw=body, json=lambda: json.loads(body))


def validate_yaml(document):
    content = re.match(r"---\n(.*?)\n---\n", document["content"], re.DOTALL)
    try:
        data = yaml.safe_load(content[1]) if content else {}
    except yaml.YAMLError as fault:
        return JSONResponse({"errors": [{"message": str(fault)}], "warnings": []}, 400)
    needed = ("title", "sdk", "app_file") if document["repoType"] == "space" else ("license", "pipeline_tag")
    missing = [{"message": f"{key} is missing"} for key in needed if key not in data]
    return JSONResponse({"errors": missing, "warnings": []}, 400 if missing else 200)


def create(hub, wanted, known):
    if not known:
        return error(401)
    if (wanted["organization"] or USER) != USER:
        return error(403, None, f"You don't have the rights to create a repository under {wanted['organization']}")
    kind, name = wanted.get("type") or "model", f"{USER}/{wanted['name']}"
    prefix = "" if kind == "model" else f"{kind}s/"
    address = {"url": f"{hub.address}/{prefix}{name}", "name": name}
    if (kind, name) in hub.repositories:
        return JSONResponse({"error": "You already created this repo", **address}, 409)
    variables = {variable["key"]: variable["value"] for variable in wanted.get("variables", [])}
    private = wanted.get("visibility") == "private"
    hub.add(kind, name, private=private, sdk=wanted.get("sdk"), variables=variables)
    return JSONResponse(address)


def store(hub, oid, method, body):
    if method == "PUT":
        if sha256(body) != oid:
            return error(400, None, "checksum")
        hub.stored[oid] = body
    return Response() if oid in hub.stored else error(404)


def write(hub, repository, rest, argument, body):
    if rest == "/info/lfs/objects/batch":
        return JSONResponse({"transfer": "basic", "objects": [_upload(hub, o) for o in body.json()["objects"]]})
    if rest.startswith("/preupload/"):
        return preupload(repository, body.json()["files"])
    if rest.startswith("/commit/"):
        return commit(hub, repository, [json.loads(line) for line in body.raw.splitlines()])
    if rest.startswith("/tag/"):
        tag, sha = body.json()["tag"], repository.resolve(argument)
        if tag in repository.tags:
            return error(409, None, "Tag reference exists already")
        repository.tags[tag] = sha
        return Response()
    if rest == "/variables":
        repository.variables[body.json()["key"]] = body.json()["value"]
        return JSONResponse({key: {"value": value} for key, value in repository.variables.items()})
    return error(404)


def _upload(hub, wanted):
    if wanted["oid"] in hub.stored:
        return wanted
    address = f"{hub.address}/lfs/{wanted['oid']}"
    return wanted | {"actions": {"upload": {"href": address}, "verify": {"href": address}}}


def preupload(repository, files):
    def mode(file):
        large = file["size"] > LARGE or file["path"].endswith(".safetensors")
        return "lfs" if large else "regular"

    return JSONResponse(
        {"files": [{"path": f["path"], "uploadMode": mode(f), "shouldIgnore": False, "oid": None} for f in files]}
    )


def commit(hub, repository, lines):
    header = next(line["value"] for line in lines if line["key"] == "header")
    if header.get("parentCommit") not in (None, repository.branches["main"]):
        return error(412, None, "A commit has happened since. Please refresh and try again.")
    files = dict(repository.head)
    for line in lines:
        key, value = line["key"], line["value"]
        if key == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            if value["oid"] not in hub.stored:
                return error(400, None, f"{value['path']}: the LFS object is missing")
            files[value["path"]] = hub.stored[value["oid"]]
        elif key == "deletedFile":
            del files[value["path"]]
    sha = repository.commit(files)
    return JSONResponse({"commitUrl": f"{hub.address}/{repository.name}/commit/{sha}", "commitOid": sha})


def read(hub, repository, step, argument, request):
    if step == "refs":
        refs = {
            "branches": [
                {"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repository.branches.items()
            ],
            "tags": [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repository.tags.items()],
            "converts": [],
        }
        return JSONResponse(refs)
    revision, _, file = argument.partition("/")
    sha = repository.resolve(revision if step in ("revision", "tree", "resolve") else "main")
    if sha is None:
        return error(404, "RevisionNotFound", "Invalid rev id")
    files = repository.commits[sha]
    if step in ("", "revision"):
        return JSONResponse(info(repository, sha, files))
    if step == "tree":
        return JSONResponse([entry(path, content) for path, content in sorted(files.items())])
    if step == "resolve":
        return content_of(hub, repository, file, sha, request) if file in files else error(404, "EntryNotFound")
    if step == "xet-read-token":
        token = {"X-Xet-Access-Token": "x", "X-Xet-Token-Expiration": "9999999999"}
        return JSONResponse({}, headers=token | {"X-Xet-Cas-Url": f"{hub.address}/xet"})
    return error(404)


def info(repository, sha, files):
    return {
        "_id": "0",
        "id": repository.name,
        "sha": sha,
        "private": repository.private,
        "gated": "auto" if repository.gated else False,
        "siblings": [{"rfilename": path} for path in sorted(files)],
        "sdk": repository.sdk,
        "tags": [],
    }


def is_large(path, content):
    return len(content) > LARGE or path.endswith(".safetensors")


def entry(path, content):
    found = {"type": "file", "path": path, "size": len(content), "oid": git_blob(content)}
    if is_large(path, content):
        found |= {
            "oid": git_blob(b"pointer to " + sha256(content).encode()),
            "lfs": {"oid": sha256(content), "size": len(content), "pointerSize": 134},
        }
    return found


def content_of(hub, repository, path, sha, request):
    content = repository.commits[sha][path]
    tag = sha256(content) if is_large(path, content) else git_blob(content)
    headers = {"X-Repo-Commit": sha, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
    if is_large(path, content):
        headers |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(len(content))}
        if repository.xet:
            route = f"{hub.address}/api/{repository.kind}s/{repository.name}/xet-read-token/{sha}"
            headers |= {"X-Xet-Hash": tag, "X-Xet-Refresh-Route": route}
    start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    if start and request.method == "GET":
        first = int(start[1])
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return Response(content[first:], 206, headers)
    return Response(content, headers=headers)

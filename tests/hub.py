"""A Hugging Face Hub on loopback for the real client: models, datasets and Spaces in memory, and faults on demand.

It knows the requests of huggingface_hub 2.4, with large files by LFS.
"""

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

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN, USER = "hf_loopback", "user"
LARGE = 10_000  # bytes; larger files and weights are LFS files
REPOSITORY = re.compile(r"/(?:api/(model|dataset|space)s/|(?:(dataset|space)s/)?)([^/]+/[^/]+?)(?:\.git)?(/\w+)?(/.*)?")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repository:
    kind: str  # model, dataset or space
    name: str
    private: bool = False
    sdk: str | None = None
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


class Hub:
    """`repositories`, `faults` and `requests` (how often each METHOD PATH came) may be read and changed at any time."""

    def __init__(self, listener: socket.socket):
        self._listener = listener
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.reset()

    def reset(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.stored: dict[str, bytes] = {}  # LFS objects by sha256
        self.faults: list[list] = []
        self.requests: Counter[str] = Counter()
        self.before = lambda request: None  # called with each request

    @contextmanager
    def running(self):
        application = Starlette(routes=[Route("/{path:path}", self.handle, methods=["GET", "POST", "PUT"])])
        config = uvicorn.Config(application, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(10)

    def add(self, kind, name, files=None, **properties):
        repository = self.repositories[kind, name] = Repository(kind, name, **properties)
        repository.commit({".gitattributes": b"", **(files or {})})
        return repository

    def fault(self, where, kind, times=None):
        """What happens to the next `times` requests, or all, whose `METHOD PATH` has a match of `where`.

        `kind`: hang, drop, lose, page, truncate, flip, or a status like 503 or "403 GatedRepo".
        """
        self.faults.append([where, kind, times])

    def take_fault(self, request):
        for fault in self.faults:
            where, kind, times = fault
            if times != 0 and re.search(where, f"{request.method} {request.url.path}"):
                fault[2] = times and times - 1
                return kind
        return ""

    async def handle(self, request):
        self.requests[f"{request.method} {request.url.path}"] += 1
        body = await request.body()
        self.before(request)
        kind = self.take_fault(request)
        if kind == "hang":
            await asyncio.sleep(3600)
        if kind == "page":
            return Response("<html><body>Welcome to the hotel's network</body></html>", media_type="text/html")
        if kind[:1].isdigit():
            return refusal(*kind.split())
        response = None if kind == "drop" else respond(self, request, body)
        if kind in ("drop", "lose", "truncate"):
            return Broken(response if kind == "truncate" else None)
        if kind == "flip":
            response.body = bytes([response.body[0] ^ 1]) + response.body[1:]
        return response


class Broken:
    """The connection ends after half of the body, or without a response."""

    def __init__(self, response):
        self.response = response

    async def __call__(self, scope, receive, send):
        if self.response is not None:
            await send({"type": "http.response.start", "status": 200, "headers": self.response.raw_headers})
            half = self.response.body[: len(self.response.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
        receive.__self__.transport.close()


def listener():
    """Bound to a free port. asyncio sets TCP_NODELAY only where the protocol is named; else requests take 40 ms."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.bind(("127.0.0.1", 0))
    return bound


def refusal(status, code="", message="refused"):
    headers = {"X-Error-Code": code, "X-Error-Message": message, "Retry-After": "0"}
    return JSONResponse({"error": message}, int(status), headers)


def respond(hub, request, body):
    """The Hub's response to a request in order."""
    path, method = request.url.path, request.method
    given = request.headers.get("authorization", "")
    if given not in ("", f"Bearer {TOKEN}"):
        return refusal(401, message="Invalid credentials in Authorization header")
    if method != "GET" and method != "HEAD" and not given and not path.startswith("/lfs/"):
        return refusal(401)
    if path == "/api/whoami-v2":
        return JSONResponse({"name": USER, "type": "user", "orgs": []}) if given else refusal(401)
    if path == "/api/validate-yaml":
        return JSONResponse({"errors": [], "warnings": []})
    if path == "/api/repos/create":
        return create(hub, json.loads(body))
    if path.startswith("/lfs/"):
        hub.stored |= {sha256(body): body} if method == "PUT" else {}
        return Response() if path.removeprefix("/lfs/") in hub.stored else refusal(404)
    kind, other_kind, name, step, argument = (part.strip("/") for part in REPOSITORY.fullmatch(path).groups(""))
    repository = hub.repositories.get((kind or other_kind or "model", name))
    if repository is None or (repository.private and not given):
        return refusal(404 if given else 401, "RepoNotFound", "Repository not found")
    if method == "POST":
        return write(hub, repository, step, argument, body)
    return read(repository, step, argument, request)


def create(hub, wanted):
    if (wanted["organization"] or USER) != USER:
        return refusal(403, "", f"You don't have the rights to create a repository under {wanted['organization']}")
    kind, name = wanted.get("type") or "model", f"{USER}/{wanted['name']}"
    address = {"url": f"{hub.address}/{name if kind == 'model' else f'{kind}s/{name}'}", "name": name}
    if (kind, name) in hub.repositories:
        return JSONResponse({"error": "You already created this repo", **address}, 409)
    variables = {variable["key"]: variable["value"] for variable in wanted.get("variables", [])}
    private = wanted.get("visibility") == "private"
    hub.add(kind, name, private=private, sdk=wanted.get("sdk"), variables=variables)
    return JSONResponse(address)


def write(hub, repository, step, argument, body):
    if step == "commit":
        return commit(hub, repository, [json.loads(line) for line in body.splitlines()])
    document = json.loads(body)
    if step == "info":  # lfs/objects/batch
        missing = [wanted for wanted in document["objects"] if wanted["oid"] not in hub.stored]
        for wanted in missing:
            address = {"href": f"{hub.address}/lfs/{wanted['oid']}"}
            wanted["actions"] = {"upload": address, "verify": address}
        return JSONResponse({"transfer": "basic", "objects": document["objects"]})
    if step == "preupload":
        files = [
            {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}
            for file in document["files"]
            for mode in ["lfs" if is_large(file["path"], file["size"]) else "regular"]
        ]
        return JSONResponse({"files": files})
    if step == "tag":
        repository.tags[document["tag"]] = repository.resolve(argument)
        return Response()
    repository.variables[document["key"]] = document["value"]
    return JSONResponse({key: {"value": value} for key, value in repository.variables.items()})


def commit(hub, repository, lines):
    files = dict(repository.head)
    for key, value in ((line["key"], line["value"]) for line in lines):
        if key == "header" and value.get("parentCommit") not in (None, repository.branches["main"]):
            return refusal(412, message="A commit has happened since. Please refresh and try again.")
        if key == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            files[value["path"]] = hub.stored[value["oid"]]
        elif key == "deletedFile":
            del files[value["path"]]
    sha = repository.commit(files)
    return JSONResponse({"commitUrl": f"{hub.address}/{repository.name}/commit/{sha}", "commitOid": sha})


def read(repository, step, argument, request):
    if step == "refs":
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repository.tags.items()]
        return JSONResponse({"branches": [], "tags": tags, "converts": []})
    revision, _, path = argument.partition("/")
    sha = repository.resolve(revision or "main")
    if sha is None:
        return refusal(404, "RevisionNotFound", "Invalid rev id")
    files = repository.commits[sha]
    if step == "tree":
        return JSONResponse([entry(repository, path, content) for path, content in sorted(files.items())])
    if step == "resolve":
        return content_of(repository, sha, path, request) if path in files else refusal(404, "EntryNotFound")
    siblings = [{"rfilename": path} for path in sorted(files)]
    document = {"_id": "0", "id": repository.name, "sha": sha, "siblings": siblings, "tags": []}
    return JSONResponse(document | {"private": repository.private})


def is_large(path, size):
    return size > LARGE or path.endswith(".safetensors")


def entry(repository, path, content):
    size, blob = len(content), hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    document = {"type": "file", "path": path, "size": size, "oid": blob}
    if is_large(path, size):
        document["lfs"] = {"oid": sha256(content), "size": size, "pointerSize": 134}
    return document


def content_of(repository, sha, path, request):
    content = repository.commits[sha][path]
    document = entry(repository, path, content)
    tag = document.get("lfs", document)["oid"]
    headers = {"X-Repo-Commit": sha, "ETag": f'"{tag}"', "X-Linked-Size": str(len(content))}
    start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    if start and request.method == "GET":
        headers["Content-Range"] = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
        return Response(content[int(start[1]) :], 206, headers)
    return Response(content, headers=headers)

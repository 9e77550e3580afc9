"""A Hugging Face Hub on loopback for the real client: models, datasets and Spaces in memory, and faults on demand.

It knows the requests of huggingface_hub 2.4, with weights by LFS.
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
WEIGHTS = ".safetensors"  # LFS files
REPOSITORY = re.compile(r"/(?:api/(model|dataset|space)s/|(?:(dataset|space)s/)?)([^/]+/[^/]+?)(?:\.git)?(/\w+)?(/.*)?")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repository:
    name: str
    private: bool = False
    sdk: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # sha → path → content
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files):
        sha = hashlib.sha1(repr((self.name, len(self.commits))).encode()).hexdigest()
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
        repository = self.repositories[kind, name] = Repository(name, **properties)
        repository.commit({".gitattributes": b"", **(files or {})})
        return repository

    def fault(self, where, kind, times=None):
        """What happens to the next `times` requests, or all, whose `METHOD PATH` has a match of `where`.

        `kind`: hang, drop, page, flip, or a status like 503 or "403 GatedRepo".
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
        if kind == "drop":
            return drop
        response = respond(self, request, body)
        if kind == "flip":
            response.body = bytes([response.body[0] ^ 1]) + response.body[1:]
        return response


async def drop(scope, receive, send):
    """The connection ends without a response."""
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
        hub.stored[sha256(body)] = body
        return Response()
    kind, other_kind, name, step, argument = (part.strip("/") for part in REPOSITORY.fullmatch(path).groups(""))
    repository = hub.repositories.get((kind or other_kind or "model", name))
    if repository is None or (repository.private and not given):
        return refusal(404 if given else 401, "RepoNotFound", "Repository not found")
    if method == "POST":
        return write(hub, repository, step, argument, body)
    return read(repository, step, argument)


def create(hub, wanted):
    if (wanted["organization"] or USER) != USER:
        return refusal(403, "", f"You don't have the rights to create a repository under {wanted['organization']}")
    kind, name = wanted.get("type") or "model", f"{USER}/{wanted['name']}"
    address = {"url": f"{hub.address}/{name}", "name": name}
    if (kind, name) in hub.repositories:
        return JSONResponse({"error": "You already created this repo", **address}, 409)
    private = wanted.get("visibility") == "private"
    hub.add(kind, name, private=private, sdk=wanted.get("sdk"))
    return JSONResponse(address)


def write(hub, repository, step, argument, body):
    if step == "commit":
        return commit(hub, repository, [json.loads(line) for line in body.splitlines()])
    document = json.loads(body)
    if step == "info":  # lfs/objects/batch
        for wanted in document["objects"]:
            wanted["actions"] = {"upload": {"href": f"{hub.address}/lfs/{wanted['oid']}"}}
        return JSONResponse({"transfer": "basic", "objects": document["objects"]})
    if step == "preupload":
        for file in document["files"]:
            mode = "lfs" if file["path"].endswith(WEIGHTS) else "regular"
            file |= {"uploadMode": mode, "shouldIgnore": False, "oid": None}
        return JSONResponse(document)
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


def read(repository, step, argument):
    if step == "refs":
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repository.tags.items()]
        return JSONResponse({"branches": [], "tags": tags, "converts": []})
    revision, _, path = argument.partition("/")
    sha = repository.resolve(revision or "main")
    if sha is None:
        return refusal(404, "RevisionNotFound", "Invalid rev id")
    files = repository.commits[sha]
    if step == "tree":
        return JSONResponse([entry(path, content) for path, content in sorted(files.items())])
    if step == "resolve" and path not in files:
        return refusal(404, "EntryNotFound")
    if step == "resolve":
        tag = entry(path, files[path]).get("lfs", entry(path, files[path]))["oid"]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{tag}"', "X-Linked-Size": str(len(files[path]))}
        return Response(files[path], headers=headers)
    siblings = [{"rfilename": path} for path in sorted(files)]
    document = {"_id": "0", "id": repository.name, "sha": sha, "siblings": siblings, "tags": []}
    return JSONResponse(document | {"private": repository.private})


def entry(path, content):
    oid, size = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), len(content)
    lfs = {"lfs": {"oid": sha256(content), "size": size, "pointerSize": 134}} if path.endswith(WEIGHTS) else {}
    return {"type": "file", "path": path, "size": size, "oid": oid, **lfs}

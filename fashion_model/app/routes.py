"""What surrounds gradio: routes of our own, limits of bodies, security headers, and sentences for errors.

A server may be open to everyone. Gradio bounds each uploaded file, but no other body; and its routes end in a traceback
where a request names an endpoint, event or component that does not exist.
"""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion_model.app.answer import answer_html, document_of, products_document, smaller
from fashion_model.app.disk import OVERLAY_FILE, folder, jpeg_file
from fashion_model.app.gradio_private import NOT_UNDERSTOOD, downloaded, root_of
from fashion_model.app.quality import file_of
from fashion_model.app.sentences import main_attribute
from fashion_model.app.uploads import MAX_BYTES, MAX_ZIP, TOO_LARGE, refuse_large, sides_of
from fashion_model.app.visit import EXAMPLES, EXAMPLES_FOLDER, index
from fashion_model.checkpoint import CARD, REPORT
from fashion_model.classifier import WORKERS, FashionClassifier
from fashion_model.explain import backdrop
from fashion_model.images import ImageError, Source

API = "/gradio_api/"
MAX_BODY = 2**20  # bytes; file names of a full batch take 200 kB
# Uploads wait on the disk. MCP clients send photographs in the message, for which its library has this limit as well.
MAX_BODIES = {
    f"{API}upload": 5 * MAX_ZIP * 2**20,
    f"{API}mcp": 4 * 2**20,
    "/predict": MAX_BYTES * 3 // 2,
    "/answer": MAX_BYTES * 3 // 2,
}
# Clients differ by a slash at the end of an address, and do not all follow a redirect.
SAME = {f"{API}mcp": f"{API}mcp/", "/predict/": "/predict"}
# Only pages of the app and of Hugging Face, which shows Spaces in a frame, may show it in one.
SECURITY_HEADERS = {
    b"content-security-policy": b"frame-ancestors 'self' https://huggingface.co https://*.hf.space; object-src 'none'; "
    b"base-uri 'self'",
    b"permissions-policy": b"camera=(self), clipboard-write=(self), geolocation=(), microphone=()",
    b"referrer-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
}

MAX_REQUESTS = 64  # to POST /predict that are received, wait or are answered at the same time
MAX_WAIT = 30  # that a request waits for its answer
RETRY_AFTER = 5  # seconds
BUSY = "Too many photographs at the moment; please try again."
OVERLAY_SIDE = 1600  # pixels, of the overlays of several products
HOW = "Send one photograph in the field `file`: curl -F file=@photograph.jpg ADDRESS/predict (or …?products=1)"
# A report comes with a checkpoint from anyone: no scripts, forms or requests, whatever it holds.
REPORT_HEADERS = {"Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"}
Job = Callable[[], dict[str, Any]]  # the work of a request that waits for a thread


class Routes:
    def __init__(self, classifier: FashionClassifier):
        self.classifier = classifier
        self.main = main_attribute(classifier.encoders.labels)
        self.example = cache(lambda path: {"html": answer_html(classifier, path.name, path)})
        self.requests = asyncio.Semaphore(MAX_REQUESTS)
        self.threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="predict")

    def all(self) -> list[Route]:
        return [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/answer", self.answer, methods=["POST"], middleware=[Middleware(GZipMiddleware)]),
            Route("/overlays/{digest}.jpeg", overlay),
            Route("/examples/{name}", example),
            Route("/card", partial(self.file, CARD, "model card", "text/plain", {})),
            Route("/report", partial(self.file, REPORT, "report", "text/html", REPORT_HEADERS)),
        ]

    async def predict(self, request: Request) -> Response:
        """A multipart form with a photograph in the field `file` → the JSON document, with the overlay's address.

        With `?products=1` that of the products in the photograph, with an overlay each.
        """
        work = {"0": self.classify, "1": self.find}.get(request.query_params.get("products", "0"))

        async def job(form: FormData) -> Job:
            match form.getlist("file"):
                case [UploadFile() as file] if work:
                    return partial(work, await content_of(file), name_of(file), root_of(request))
            raise ImageError(HOW)

        return await self._respond(request, job)

    async def answer(self, request: Request) -> Response:
        """For the page: a form with a photograph, the name of an example, or an address → {"html": the answer}.

        A photograph that cannot be used has status 200, too: browsers would report others as errors of the page.
        """

        async def job(form: FormData) -> Job:
            source: Source
            match form.get("file"), form.get("example"), form.get("address"):
                case UploadFile() as file, None, None:
                    source, name = await content_of(file), name_of(file)
                case None, str() as name, None:
                    source = example_called(name)
                case None, None, str() as address:
                    source = await downloaded(address, folder())
                    name = source.name
                    refuse_large(source)
                case _:
                    raise ImageError(HOW)
            box = sides_of(form.get("box"))
            if source in EXAMPLES and not box:
                return partial(self.example, source)
            return lambda: {"html": answer_html(self.classifier, name, source, box)}

        response = await self._respond(request, job)
        if response.status_code in (400, 413):
            response.status_code = 200
        return response

    async def _respond(self, request: Request, job_of: Callable[[FormData], Awaitable[Job]]) -> Response:
        """What the job that the request's form asks for returns, from one of the threads."""
        if self.requests.locked():  # MAX_REQUESTS are received, wait or are answered already
            return busy()
        try:
            async with self.requests, request.form() as form:
                job = asyncio.get_running_loop().run_in_executor(self.threads, await job_of(form))
                return JSONResponse(await asyncio.wait_for(job, MAX_WAIT))
        except asyncio.TimeoutError:
            return busy()
        except HTTPException as fault:  # no form
            return JSONResponse({"error": fault.detail}, fault.status_code)
        except ValueError as fault:  # such as an ImageError
            return JSONResponse({"error": str(fault)}, 413 if str(fault) == TOO_LARGE else 400)

    def classify(self, photograph: bytes, name: str, root: str) -> dict[str, Any]:
        prediction, overlays = self.classifier.predict_and_explain(photograph, [self.main])
        return document_of(name, self.classifier, prediction) | {"overlay": address_of(overlays[self.main], root)}

    def find(self, photograph: bytes, name: str, root: str) -> dict[str, Any]:
        """The overlays are at most OVERLAY_SIDE wide and high."""
        self.classifier.check_finder()
        opened = self.classifier.open(photograph)
        found = self.classifier.products_in(opened, 1)
        document = products_document(name, self.classifier, [product for product, _, _ in found])
        ground = backdrop(smaller(opened, OVERLAY_SIDE))
        for of_product, (_, maps, area) in zip(document["products"], found, strict=True):
            drawn = self.classifier.draw(ground, maps[self.main][0], area)
            of_product["overlay"] = address_of(drawn, root)
        return document

    def file(self, name: str, called: str, media_type: str, headers: dict[str, str], _: Request) -> Response:
        """A file of the checkpoint."""
        path = file_of(self.classifier, name)
        if not path:
            raise HTTPException(404, f"This checkpoint has no {called}.")
        return FileResponse(path, media_type=f"{media_type}; charset=utf-8", headers=headers)


def overlay(request: Request) -> Response:
    digest = request.path_params["digest"]
    path = folder() / digest / OVERLAY_FILE
    if not re.fullmatch("[0-9a-f]{64}", digest) or not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, media_type="image/jpeg")


def example(request: Request) -> Response:
    try:
        return FileResponse(example_called(request.path_params["name"]))
    except ImageError as error:
        raise HTTPException(404, str(error)) from error


def example_called(name: str) -> Path:
    if EXAMPLES_FOLDER / name not in EXAMPLES:
        raise ImageError("There is no such example.")
    return EXAMPLES_FOLDER / name


def name_of(file: UploadFile) -> str:
    return file.filename or "photograph"


async def content_of(file: UploadFile) -> bytes:
    content = await file.read(MAX_BYTES + 1)  # the whole body may be larger
    if len(content) > MAX_BYTES:
        raise ImageError(TOO_LARGE)
    return content


def address_of(overlay: Image.Image, root: str) -> str:
    """The address from which the overlay can be fetched for an hour."""
    return f"{root}/overlays/{jpeg_file(overlay).parent.name}.jpeg"


def busy() -> Response:
    return JSONResponse({"error": BUSY}, status_code=503, headers={"Retry-After": str(RETRY_AFTER)})


async def with_visit(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the HTML of the page that `app` gives, changed by `index`."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
    messages: list[Message] = []

    async def collect(message: Message) -> None:
        messages.append(message)

    await app({**scope, "headers": headers}, receive, collect)
    status, body = messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])
    request = Request(scope)
    response = HTMLResponse(index(body.decode(), root_of(request)), status)
    await GZipMiddleware(response)(scope, receive, send)


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp):
        limits = {MAX_BODY, *MAX_BODIES.values()}
        self.limited = {limit: RequestBodyLimitMiddleware(app, limit) for limit in limits}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        scope = {**scope, "path": SAME.get(path, path)}
        app = self.limited[MAX_BODIES.get(path.rstrip("/"), MAX_BODY)]
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = {name.lower() for name, _ in message["headers"]}
                ours = [(name, value) for name, value in SECURITY_HEADERS.items() if name not in given]
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        try:
            if scope["path"] == "/" and scope["method"] == "GET":
                await with_visit(app, scope, receive, send_with_headers)
            else:
                await app(scope, receive, send_with_headers)
        except ClientDisconnect:  # there is nobody to be answered
            return
        except Exception as error:  # whatever gradio's routes raise
            if not scope["path"].startswith(API):
                raise
            print(f"app: {scope['method']} {scope['path']!r}: {error!r}", file=sys.stderr, flush=True)
            if started:  # a stream of events, which has sent the error
                await send({"type": "http.response.body", "body": b""})
            else:
                await JSONResponse({"error": NOT_UNDERSTOOD}, 400)(scope, receive, send_with_headers)

"""What surrounds gradio: routes of our own, limits of bodies, security headers, and sentences for errors.

A server may be open to everyone. Gradio bounds each uploaded file, but no other body; and its routes end in a traceback
where a request names an endpoint, event or component that does not exist.
"""

from __future__ import annotations

import asyncio
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion_model.app.answer import document_of, main_attribute
from fashion_model.app.disk import OVERLAY_FILE, folder, jpeg_file
from fashion_model.app.gradio_private import NOT_UNDERSTOOD, root_of
from fashion_model.app.quality import file_of
from fashion_model.app.single import EXAMPLES, EXAMPLES_FOLDER
from fashion_model.app.uploads import MAX_BYTES, MAX_ZIP, TOO_LARGE
from fashion_model.checkpoint import REPORT
from fashion_model.classifier import WORKERS, FashionClassifier
from fashion_model.images import ImageError

API = "/gradio_api/"
MAX_BODY = 2**20  # bytes; file names of a full batch take 200 kB
# Uploads wait on the disk. MCP clients send photographs in the message, for which its library has this limit as well.
MAX_BODIES = {
    f"{API}upload": 5 * MAX_ZIP * 2**20,
    f"{API}mcp": 4 * 2**20,
    "/predict": MAX_BYTES * 3 // 2,
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
HOW = "Send one photograph in the field `file`: curl -F file=@photograph.jpg ADDRESS/predict"
# A report comes with a checkpoint from anyone: no scripts, forms or requests, whatever it holds.
REPORT_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Routes:
    def __init__(self, classifier: FashionClassifier):
        self.classifier = classifier
        self.requests = asyncio.Semaphore(MAX_REQUESTS)
        self.threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="predict")

    def all(self) -> list[Route]:
        return [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/overlays/{digest}.jpeg", self.overlay),
            Route("/report", self.report),
            Route("/examples/{name}", self.example),
        ]

    async def predict(self, request: Request) -> Response:
        """A multipart form with a photograph in the field `file` → the JSON document with the overlay's address."""
        if self.requests.locked():
            return busy()
        async with self.requests, request.form() as form:
            match form.getlist("file"):
                case [UploadFile() as file]:
                    pass
                case _:
                    return error(400, HOW)
            if (file.size or 0) > MAX_BYTES:  # the whole body may be larger
                return error(413, TOO_LARGE)
            arguments = file.filename or "photograph", await file.read(), root_of(request)
            work = asyncio.get_running_loop().run_in_executor(self.threads, self.classify, *arguments)
            try:
                return JSONResponse(await asyncio.wait_for(work, MAX_WAIT))
            except asyncio.TimeoutError:
                return busy()
            except ImageError as fault:
                return error(400, str(fault))

    def classify(self, name: str, photograph: bytes, root: str) -> dict[str, Any]:
        main = main_attribute([a.name for a in self.classifier.attributes])
        prediction, overlays = self.classifier.predict_and_explain(photograph, [main])
        overlay = f"{root}/overlays/{jpeg_file(overlays[main]).parent.name}.jpeg"
        return document_of(name, self.classifier, prediction) | {"overlay": overlay}

    def overlay(self, request: Request) -> Response:
        digest = request.path_params["digest"]
        path = folder() / digest / OVERLAY_FILE
        if not re.fullmatch("[0-9a-f]{64}", digest) or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, media_type="image/jpeg")

    def report(self, request: Request) -> Response:
        path = file_of(self.classifier, REPORT)
        if not path:
            raise HTTPException(404, "This checkpoint has no report.")
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)

    def example(self, request: Request) -> Response:
        path = EXAMPLES_FOLDER / request.path_params["name"]
        if path not in EXAMPLES:
            raise HTTPException(404)
        return FileResponse(path)


def error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


def busy() -> Response:
    return JSONResponse({"error": BUSY}, status_code=503, headers={"Retry-After": str(RETRY_AFTER)})


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
            await app(scope, receive, send_with_headers)
        except Exception as error:  # whatever gradio's routes raise
            if not scope["path"].startswith(API):
                raise
            print(f"app: {scope['method']} {scope['path']!r}: {error!r}", file=sys.stderr, flush=True)
            if started:  # a stream of events, which has sent the error
                await send({"type": "http.response.body", "body": b""})
            else:
                await JSONResponse({"error": NOT_UNDERSTOOD}, 400)(scope, receive, send_with_headers)

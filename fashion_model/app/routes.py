"""Routes beside gradio's: POST /predict with the overlays that it names, the report, and the example photographs."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from fashion_model.app.disk import OVERLAY, folder, jpeg_file
from fashion_model.app.gradio_private import root_of
from fashion_model.app.handlers import EXAMPLES
from fashion_model.app.quality import report_of
from fashion_model.app.result import document_of, main_attribute
from fashion_model.app.uploads import MAX_BYTES, TOO_LARGE
from fashion_model.classifier import WORKERS, FashionClassifier
from fashion_model.images import ImageError

MAX_REQUESTS = 64  # to POST /predict that are received, wait or are answered at the same time
MAX_SECONDS = 30  # that a request waits for its answer
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
        async with self.requests, request.form(max_files=1) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                return error(400, HOW)
            if (file.size or 0) > MAX_BYTES:  # the whole body may be larger
                return error(413, TOO_LARGE)
            arguments = file.filename or "photograph", await file.read(), root_of(request)
            work = asyncio.get_running_loop().run_in_executor(self.threads, self.classify, *arguments)
            try:
                return JSONResponse(await asyncio.wait_for(work, MAX_SECONDS))
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
        path = folder() / digest / OVERLAY
        if not re.fullmatch("[0-9a-f]{64}", digest) or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, media_type="image/jpeg")

    def report(self, request: Request) -> Response:
        path = report_of(self.classifier)
        if not path:
            raise HTTPException(404, "This checkpoint has no report.")
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)

    def example(self, request: Request) -> Response:
        example = EXAMPLES.get(request.path_params["name"])
        if not example:
            raise HTTPException(404)
        return FileResponse(example.path)


def error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


def busy() -> Response:
    return JSONResponse({"error": BUSY}, status_code=503, headers={"Retry-After": str(RETRY_AFTER)})

"""Routes beside gradio's: POST /predict, the report, and the example photographs."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx2
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from fashion_model.app.api import other_inputs, output_names
from fashion_model.app.examples import EXAMPLES
from fashion_model.app.loading import Models
from fashion_model.app.quality import report_of
from fashion_model.app.uploads import MAX_BYTES, TOO_LARGE
from fashion_model.classifier import FashionClassifier

# A report comes with a checkpoint from anyone: no scripts, forms or requests, whatever it holds.
REPORT_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"

ADDRESS_HEADERS = ("host", "x-forwarded-host", "x-forwarded-proto")  # from them gradio makes the overlay's address


def routes(models: Models) -> list[Route]:
    sessions: list[str] = []  # that wait for a request; gradio builds the state of a new one in 10 ms, and keeps it

    async def predict(request: Request) -> Response:
        """A multipart form with a photograph in the field `file` → JSON, by way of gradio's upload and queue."""
        headers = {name: value for name, value in request.headers.items() if name in ADDRESS_HEADERS}
        transport, base_url = httpx2.ASGITransport(app=request.app), f"{request.url.scheme}://{request.url.netloc}"
        async with httpx2.AsyncClient(transport=transport, base_url=base_url, headers=headers) as client:
            return await answer(client, request, models.first, sessions)

    def report(request: Request) -> Response:
        path = report_of(models.first)
        if not path:
            raise HTTPException(404, "This checkpoint has no report.")
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)

    def example(request: Request) -> Response:
        found = EXAMPLES.get(request.path_params["name"])
        if not found:
            raise HTTPException(404)
        return FileResponse(found.path)

    return [
        Route("/predict", predict, methods=["POST"]),
        Route("/report", report),
        Route("/examples/{name}", example),
    ]


async def answer(
    client: httpx2.AsyncClient, request: Request, classifier: FashionClassifier, sessions: list[str]
) -> Response:
    async with request.form(max_files=1) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            return _error(400, "Send one photograph in the field `file`: curl -F file=@photograph.jpg ADDRESS/predict")
        # Gradio's own limit is that of a zip.
        if (file.size or 0) > MAX_BYTES:
            return _error(413, TOO_LARGE)
        name = file.filename or "photograph"
        uploaded = await client.post("/gradio_api/upload", files={"files": (name, await file.read())})
    if uploaded.status_code != 200:
        return _error(uploaded.status_code, uploaded.text)
    photo = {"path": uploaded.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    names = [attribute.name for attribute in classifier.attributes]
    session = sessions.pop() if sessions else secrets.token_hex()
    asked = {"data": [photo, *other_inputs(names)], "session_hash": session}
    joined = await client.post("/gradio_api/call/predict", json=asked)
    if joined.status_code != 200:
        sessions.append(session)
        return _error(joined.status_code, joined.json().get("detail", "The photograph was not accepted."))
    events = await client.get(f"/gradio_api/call/predict/{joined.json()['event_id']}", timeout=None)
    event, data = _last_event(events.text)
    if event == "complete" or isinstance(data, dict):  # otherwise its event may still run
        sessions.append(session)
    if event != "complete":
        message = data.get("error") if isinstance(data, dict) else data
        return _error(400, message or "The photograph could not be classified.")
    return JSONResponse(document(name, classifier, dict(zip(output_names(names), data, strict=True))))


def document(file: str, classifier: FashionClassifier, outputs: dict[str, Any]) -> dict[str, Any]:
    """What `Result.to_dict` gives, from the outputs of gradio's endpoint, and the overlay's address."""
    attributes = {}
    for name in (attribute.name for attribute in classifier.attributes):
        top = [{"label": c["label"], "confidence": round(c["confidence"], 4)} for c in outputs[name]["confidences"]]
        attributes[name] = top[0] | {"confidences": top}
    return {
        "file": file,
        "model": classifier.name,
        "is_fashion": outputs["is_fashion"],
        "sentence": outputs["notice"],
        **attributes,
        "overlay": outputs["overlay"]["url"],
    }


def _last_event(stream: str) -> tuple[str, Any]:
    """Name and data of the last event of a text/event-stream."""
    lines = [line.partition(": ")[::2] for line in stream.splitlines() if line]
    fields = dict(lines)
    return fields.get("event", ""), json.loads(fields.get("data", "null"))


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)

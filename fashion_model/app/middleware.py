"""What lies between the network and the routes: limits of bodies, security headers, and sentences for errors.

A Space is open to everyone. Gradio bounds each uploaded file, but no other body; and its routes end in a traceback
where a request names an endpoint, event or component that does not exist.
"""

from __future__ import annotations

import sys

from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion_model.app.gradio_private import NOT_UNDERSTOOD
from fashion_model.app.uploads import MAX_BYTES, MAX_ZIP

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
HEADERS = {
    "content-security-policy": "frame-ancestors 'self' https://huggingface.co https://*.hf.space; object-src 'none'; "
    "base-uri 'self'",
    "permissions-policy": "camera=(self), clipboard-write=(self), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


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
        started = may_end = False  # whether the response has started, and may end where it is

        async def send_with_headers(message: Message) -> None:
            nonlocal started, may_end
            if message["type"] == "http.response.start":
                started, given = True, {name.lower() for name, _ in message["headers"]}
                may_end = b"content-length" not in given
                ours = [(name.encode(), text.encode()) for name, text in HEADERS.items() if name.encode() not in given]
                message = {**message, "headers": [*message["headers"], *ours]}
            else:
                may_end &= message.get("more_body", False)
            await send(message)

        try:
            await app(scope, receive, send_with_headers)
        except Exception as error:  # whatever gradio's routes raise
            if not scope["path"].startswith(API) or (started and not may_end):
                raise
            print(f"app: {scope['method']} {scope['path']!r}: {error!r}", file=sys.stderr, flush=True)
            if started:  # a stream of events, which has sent the error
                await send({"type": "http.response.body", "body": b""})
            else:
                await JSONResponse({"error": NOT_UNDERSTOOD}, 400)(scope, receive, send_with_headers)

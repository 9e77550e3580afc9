"""What stands between the network and gradio's routes: limits on bodies, security headers, and who still listens.

A Space is open to everyone. Gradio bounds each uploaded file, but no other body, nor how long one may take to arrive;
and its routes end in a traceback where a request names an endpoint, event or component that does not exist.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion_model.app.uploads import MAX_BYTES, MAX_ZIP

API = "/gradio_api/"
MAX_BODY = 2**20  # bytes; file names of a full batch take 200 kB
# Uploads wait on the disk. MCP clients send photographs in the message, for which its library has this limit as well.
MAX_BODIES = {
    f"{API}upload": 5 * MAX_ZIP * 2**20,
    f"{API}mcp": 4 * 2**20,
    "/predict": MAX_BYTES * 3 // 2,
}
UPLOADS = 16  # large bodies that are received at the same time; others wait
WAIT = 60  # seconds that they wait
GRACE, BYTES_A_SECOND = 30, 16 * 2**10  # a body has so many seconds, and one more for so many bytes,
LONGEST = 900  # but no more seconds than these
UNHEARD = 30  # seconds after which work stops that nobody listens for
TOO_LARGE = "The request is too large."
TOO_SLOW = "The request took too long to arrive."
BUSY = "Too many uploads at the moment; please try again."
NOT_UNDERSTOOD = "The request was not understood; /gradio_api/info lists the endpoints and what they take."
# Only pages of the app and of Hugging Face, which shows Spaces in a frame, may show it in one.
HEADERS = {
    "content-security-policy": "frame-ancestors 'self' https://huggingface.co https://*.hf.space; object-src 'none'; "
    "base-uri 'self'",
    "permissions-policy": "camera=(self), clipboard-write=(self), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Refusal(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Listeners:
    """Which events' answers somebody waits for: sessions and events with an open stream."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def listening(self, name: str | None) -> Iterator[None]:
        if name is None:
            yield
            return
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    def patience(self, name: str | None) -> Callable[[], bool]:
        """A function that says whether nobody has listened to the session or event for so long."""
        last = time.monotonic()

        def nobody_listens() -> bool:
            nonlocal last
            if name is None or self._open[name]:
                last = time.monotonic()
            return time.monotonic() - last > UNHEARD

        return nobody_listens


LISTENERS = Listeners()


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self.uploads = asyncio.Semaphore(UPLOADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self.uploads)
        try:
            await exchange.take_place()
            with LISTENERS.listening(listener_of(scope)):
                await self.app(scope, exchange.receive, exchange.send)
        except Refusal as refusal:
            exchange.refusal = refusal
        except Exception as error:
            if not exchange.refusal and not (scope["path"].startswith(API) and exchange.can_end):
                raise
            exchange.failed(error)
        finally:
            exchange.leave_place()
        await exchange.end()


class Exchange:
    """One request with its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, places: asyncio.Semaphore):
        self._scope, self._receive, self._send, self._places = scope, receive, send, places
        self.limit = MAX_BODIES.get(scope["path"].rstrip("/"), MAX_BODY)
        self._has_place = False
        self.refusal: Refusal | None = None
        self._bytes, self._complete, self._started, self._ended = 0, False, False, False
        self._since: float | None = None
        self.can_end = True  # whether the answer, as far as it is sent, may end here

    async def take_place(self) -> None:
        """Wait for a place among the large bodies, until the whole body is here. Refusal if there is none in time."""
        if self._scope["method"] == "POST" and self.limit > MAX_BODY:
            try:
                self._has_place = await asyncio.wait_for(self._places.acquire(), WAIT)
            except asyncio.TimeoutError as error:
                raise Refusal(503, BUSY) from error

    def leave_place(self) -> None:
        if self._has_place:
            self._places.release()
            self._has_place = False

    async def receive(self) -> Message:
        """The next piece of the body; a disconnect instead of what is too large or too slow."""
        if self._complete:
            return await self._receive()
        self._since = self._since or time.monotonic()
        left = self._since + min(GRACE + self._bytes / BYTES_A_SECOND, LONGEST) - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except asyncio.TimeoutError:
            return self._refuse(Refusal(408, TOO_SLOW))
        self._bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._complete:
            self.leave_place()
        return self._refuse(Refusal(413, TOO_LARGE)) if self._bytes > self.limit else message

    def _refuse(self, refusal: Refusal) -> Message:
        self.refusal, self._complete = refusal, True
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.refusal and not self._started:
            return  # what the application makes of the disconnect
        if message["type"] == "http.response.start":
            self._started = True
            given = {name.lower() for name, _ in message["headers"]}
            self.can_end = b"content-length" not in given
            ours = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given]
            message = {**message, "headers": [*message["headers"], *ours]}
        else:
            self._ended = not message.get("more_body", False)
        await self._send(message)

    def failed(self, error: Exception) -> None:
        if not self.refusal:
            print(f"app: {self._scope['method']} {self._scope['path']!r}: {error!r}", file=sys.stderr, flush=True)
            self.refusal = Refusal(400, NOT_UNDERSTOOD)

    async def end(self) -> None:
        """Send the refusal; or end what the application began and did not end."""
        if self.refusal and not self._started:
            refusal, self.refusal = self.refusal, None
            answer = JSONResponse({"error": refusal.sentence}, refusal.status, {"connection": "close"})
            await answer(self._scope, self._receive, self.send)
        elif self.refusal and not self._ended:  # a stream of events, which has told of the error
            await self._send({"type": "http.response.body", "body": b""})


def listener_of(scope: Scope) -> str | None:
    """The session or event whose answer the request waits for."""
    path = scope["path"].removeprefix(API)
    if scope["method"] != "GET" or path == scope["path"]:
        return None
    if path == "queue/data":
        return next(iter(parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])), None)
    return path.rpartition("/")[2] if path.startswith("call/") else None

"""Answer a browser: which page has which address, what no page may do, and who may push.

Promises: no page runs or loads anything that is not ours, whatever a customer is called; nothing is done unless it was
sent by a form of the console itself, by somebody who may; nobody ever sees a stack trace.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from pymongo.errors import PyMongoError
from starlette import requests, responses

from operate.console import buttons, pages
from operate.console.answers import Found, Page, Refused, rendered
from operate.console.shop import Shop, opened
from operate.errors import NotReachable, WrongUse
from operate.metrics import CONTENT_TYPE, exposition
from shop.edge import admission
from shop.edge.asgi import Receive, Request, Response, Scope, Send, in_text
from shop.errors import Forbidden, Rejected, Unauthenticated, Unavailable
from shop.process import log, process

MAX_BODY: Final = 16 * 1024
"""The largest form, in bytes: a reason and some ids."""

_BODY_S: Final = 10.0
"""How long a form may take to come."""

_MOST_FIELDS: Final = 20
"""How many fields the address of a page may have: those of a group of letters are five."""

_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_STATIC: Final = Path(__file__).parent / "static"
_KINDS: Final = {".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8", ".svg": b"image/svg+xml"}

_STATUSES: Final[Mapping[type[Exception], int]] = {Unauthenticated: 401, Forbidden: 403}

_log = logging.getLogger(__name__)

Look = Callable[[Shop, Mapping[str, str]], Page | Found]

PAGES: Final[Mapping[str, Look]] = {
    "/": pages.home,
    "/find": pages.find,
    "/orders": pages.orders,
    "/order": pages.order,
    "/letters": pages.letters,
    "/letter": pages.letter,
    "/customer": pages.customer,
    "/health": pages.health,
    "/actions": pages.actions,
    "/ask": buttons.ask,
    "/redrive": buttons.redrive,
    "/park": buttons.park,
    "/verify": buttons.verify,
}
"""Every page by its address; those of the buttons ask, and are pushed by POST to the same address."""

_LOOPBACK: Final = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")


@dataclass
class _Console:
    """The function: one shop for all requests."""

    shop: Shop = field(default_factory=opened)

    async def answer(self, request: Request) -> Response:
        """Answer one request; whatever goes wrong becomes a page."""
        begun, outcome = time.monotonic(), "done"
        try:
            response = await self._answer(request)
        except Refused as refused:
            outcome, response = "refused", _page(self._wrong(str(refused)), refused.status)
        except (Rejected, Unavailable) as error:  # whose token it is, was not shown or cannot be told
            outcome, response = "refused", _page(self._wrong(str(error)), _STATUSES.get(type(error), 503))
            response.raw_headers.append((b"www-authenticate", admission.challenge(error.code).encode()))
        except (NotReachable, PyMongoError) as error:
            outcome, response = "away", _page(self._wrong(f"MongoDB or Kafka does not answer: {error}"), 503)
        except WrongUse as error:
            outcome, response = "refused", _page(self._wrong(str(error)), 400)
        except Exception as error:  # noqa: BLE001 - the last place to catch it; its trace is in the log
            _log.error("unhandled exception", exc_info=error)
            outcome, response = "bug", _page(self._wrong("a bug in the console; its log has the trace"), 500)
        log.handled(request.path, outcome, time.monotonic() - begun)
        return response

    def _wrong(self, says: str) -> Page:
        return Page("wrong.html", "Not possible", {"says": says})

    async def _answer(self, request: Request) -> Response:
        path, method = request.path, request.method
        if method in ("GET", "HEAD"):
            if path == "/healthz":
                return in_text("ok\n")
            if path == "/metrics":
                text = exposition(await asyncio.to_thread(self.shop.status))
                return Response(text.encode(), content_type=CONTENT_TYPE.encode())
            if path.startswith("/static/"):
                return _static(path.removeprefix("/static/"))
        if path not in PAGES:
            raise Refused(404, "there is no such page")
        caller = await _admin(request)
        query = _query(request)
        if method in ("GET", "HEAD"):
            return _answered(await asyncio.to_thread(PAGES[path], self.shop, query), query)
        if method != "POST" or path not in buttons.PUSHES:
            raise Refused(405, f"method {method} is not allowed here")
        check_same_origin(request)
        who = caller or self._anybody(request)
        form = dict(parse_qsl((await _body(request)).decode("utf-8", "replace"), keep_blank_values=True))
        return _answered(await asyncio.to_thread(buttons.PUSHES[path], self.shop, form, who), query)

    def _anybody(self, request: Request) -> str:
        """Return who pushes where nobody is identified. Raises Refused where nobody may."""
        if not self.shop.anybody_may_push:
            raise Refused(403, pages.READ_ONLY)
        if not _LOOPBACK.fullmatch(request.header(b"host") or ""):
            raise Refused(403, "anybody may push here, so only on this machine: open the console at 127.0.0.1")
        return "anybody on this machine"


async def _admin(request: Request) -> str | None:
    """Return who looks, where tokens are demanded; None where none is. Raises Refused for who is no admin."""
    if process.current().settings.auth is None:
        return None
    caller = await admission.identify(request)
    caller.check("admin", None)
    return caller.user


def check_same_origin(request: Request) -> None:
    """Raise Refused for a POST that no page of ours has sent."""
    site, origin = request.header(b"sec-fetch-site"), request.header(b"origin")
    ours = site == "same-origin" if site is not None else urlsplit(origin or "").netloc == request.header(b"host")
    if not ours or (origin is not None and urlsplit(origin).netloc != request.header(b"host")):
        raise Refused(403, "this was not sent by a page of the console: nothing was done")


def _query(request: Request) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(request.query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise Refused(400, "no page has so many fields in its address") from error


async def _body(request: Request) -> bytes:
    try:
        async with asyncio.timeout(process.current().limit(_BODY_S)):
            return await _read_body(request)
    except TimeoutError as error:
        raise Refused(408, f"the form did not come within {_BODY_S:.0f} s: nothing was done") from error


async def _read_body(request: Request) -> bytes:
    body, more = b"", True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the form ended early: nothing was done")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise Refused(413, "the form is too large: nothing was done")
    return body


def _answered(page: Page | Found, query: Mapping[str, str]) -> Response:
    if isinstance(page, Found):
        return Response(b"", 303, {**_HEADERS, "Location": page.at})
    return _page(page, page.status, only_live="live" in query)


def _page(page: Page, status: int, *, only_live: bool = False) -> Response:
    text = rendered(page, only_live=only_live)
    # A browser that asks for the live part each second stops when nothing is on its way any more; an error is no end.
    headers = _HEADERS if page.refresh or status >= 400 else {**_HEADERS, "X-Settled": "true"}
    return Response(text.encode("utf-8", "replace"), status, headers, b"text/html; charset=utf-8")


@cache
def _static_files() -> Mapping[str, bytes]:
    return {file.name: file.read_bytes() for file in _STATIC.iterdir()}


def _static(name: str) -> Response:
    if name not in _static_files():
        raise Refused(404, "there is no such file")
    return Response(_static_files()[name], 200, _HEADERS, _KINDS[Path(name).suffix])


Function = Callable[[requests.Request], Awaitable[responses.Response]]


def served(name: str, shop: Shop | None = None) -> Function:
    """Make the function of the framework, called so. It looks at the shop that its environment names."""
    console: list[_Console] = [] if shop is None else [_Console(shop)]

    async def answer(request: Request) -> Response:
        if not console:
            console.append(_Console())  # at the first request: a place that is not told is answered, not fatal
        return await console[0].answer(request)

    async def handle(request: requests.Request) -> responses.Response:
        return await answer(Request(request.scope, request.receive))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (await answer(Request(scope, receive)))(scope, receive, send)

    handle.__name__ = name  # the framework registers and finds it by its name
    attributes: dict[str, Any] = vars(handle)
    attributes.update(app=app)
    return handle

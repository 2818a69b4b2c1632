"""Let pages of other origins call a function: CORS, as the Fetch standard has it, for the origins in `CORS_ORIGINS`.

Promises: an origin that is not in the setting is told nothing; a preflight does nothing; without the setting no request
comes by here.

It decides what a browser lets a page read, and never who may call: whoever is no browser sends what it likes. Cookies
play no part here, so `Access-Control-Allow-Credentials` is never sent.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable

from shop.edge.asgi import Request, Response

Answering = Callable[[Request], Awaitable[Response]]

SENT = ("Authorization", "Content-Type", "Idempotency-Key", "Prefer", "traceparent")
"""The headers that a page may send beside those that every page may."""

SHOWN = ("Idempotent-Replayed", "Preference-Applied", "Retry-After", "WWW-Authenticate", "traceparent")
"""The headers of an answer that a page may read beside those that every page may."""

REMEMBERED_S = 7200
"""How long a browser may remember a preflight: as long as any does. It changes with a new version only."""


def opened(answer: Answering, origins: Collection[str], methods: Iterable[str]) -> Answering:
    """Return what answers as before, and tells pages of these origins that they may read it."""
    allowed = {origin.encode("ascii") for origin in origins}
    asked = [
        (b"access-control-allow-methods", ", ".join(methods).encode()),
        (b"access-control-allow-headers", ", ".join(SENT).encode()),
        (b"access-control-max-age", b"%d" % REMEMBERED_S),
    ]
    shown = (b"access-control-expose-headers", ", ".join(SHOWN).encode())

    async def answered(request: Request) -> Response:
        response = await answer(request)
        # Whoever keeps an answer must not show it to another origin; told to all, for who keeps it does not know ours.
        response.raw_headers.append((b"vary", b"Origin"))
        origin = request.first.get(b"origin")
        if origin in allowed:
            response.raw_headers.append((b"access-control-allow-origin", origin))
            if request.method == "OPTIONS":
                response.raw_headers.extend(asked)
            else:
                response.raw_headers.append(shown)
        return response

    return answered

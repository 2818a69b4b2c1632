"""Hand a function what came beside its message, and the way out for the event that it may emit."""

import difflib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import Message

from shop.edge.asgi import Request
from shop.errors import Code, Malformed
from shop.messages import Event, check_idempotency_key

Emit = Callable[[Event, str | None], Awaitable[None]]
"""Emits an event, which belongs to a trace; returning means that Kafka has it.

Raises Unavailable when that is unknown.
"""

KEY_LETTERS = "idempotencykey"


@dataclass(frozen=True)
class Call:
    """What a function is called with, beside its message."""

    request: Request
    emit: Emit
    """Emits the event that the function's label names, and no other."""

    traceparent: str | None = None
    """The trace that belongs to what is done because of it: a request's own, or that of the order behind an event."""

    @property
    def idempotency_key(self) -> str | None:
        """Return the key that makes a request safe to repeat; None when none was sent.

        Raises Malformed for a header that is meant for it and is not: unnoticed, a repeat would count twice. Raises
        Impossible for a key that no header carries unchanged.
        """
        for name in self.request.first:
            if _is_misspelt_key(name):
                raise Malformed(
                    Code.HEADER_MISSPELT, f"unknown header {name.decode('latin-1')}; did you mean Idempotency-Key?"
                )
        key = self._sent(b"idempotency-key")
        if key is not None:
            check_idempotency_key(key)
        return key

    @property
    def prefers_text(self) -> bool:
        """Tell whether the client asks for text/plain, and not at least as much for JSON."""
        qualities = accepted(self.request)
        return qualities.get("text/plain", 0.0) > qualities.get("application/json", 0.0)

    def _sent(self, name: bytes) -> str | None:
        sent = self.request.headers(name)
        return ", ".join(sent) if sent else None  # as any proxy may join them


def accepted(request: Request) -> Mapping[str, float]:
    """Return the media types that a client names in `Accept`, each with how much it wants it, from 0 to 1."""
    qualities = {}
    for item in ", ".join(request.headers(b"accept")).split(","):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        qualities[media_type] = float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return qualities


_QUALITY = re.compile(r"[01](\.\d{0,3})?")


@lru_cache(256)  # clients send the same names again and again, and a comparison takes as long as the rest of a request
def _is_misspelt_key(name: bytes) -> bool:
    letters = re.sub("[^a-z]", "", name.decode("latin-1"))
    return name != b"idempotency-key" and bool(difflib.get_close_matches(letters, [KEY_LETTERS], cutoff=0.8))


def calls(emits: type[Event] | None) -> Callable[[Request, str | None], Call]:
    """Return what makes the Call of a request, in a trace, to a function that emits such events (None: no events).

    It raises Unavailable, before anything is done, when this process does not know where to emit.
    """
    if emits is None:
        return lambda request, traceparent: Call(request, _emits_nothing, traceparent)
    # Here, for the HTTP client behind it is a third of a cold start: only who emits waits for it.
    from shop.emission import emit

    async def emit_it(event: Event, traceparent: str | None) -> None:
        if not isinstance(event, emits):
            raise TypeError(f"the label says {_name(emits)}, not {_name(type(event))}")
        await emit.emit(event, traceparent)

    def call(request: Request, traceparent: str | None) -> Call:
        emit.check()
        return Call(request, emit_it, traceparent)

    return call


async def _emits_nothing(event: Event, _: str | None) -> None:
    raise TypeError(f"the label names no event, but {_name(type(event))} is emitted")


def _name(kind: type[Message]) -> str:
    return str(kind.DESCRIPTOR.name)

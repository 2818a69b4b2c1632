"""Call a function in this process, through the very app that a container serves."""

import asyncio
import functools
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from functions_framework.aio import create_asgi_app

from shop import serve
from shop.edge.handling import Function, app_of
from tests.support.statements import watching

FUNCTIONS = Path(__file__).parents[2] / "functions"


@dataclass(frozen=True)
class Answer:
    """What a function answered; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body, read as JSON."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Return the field that every JSON answer has."""
        return str(self.json["message"])

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()


def framework() -> AbstractContextManager[object]:
    """Take back what the framework leaves in the environment, its FUNCTION_TARGET: one function is one process."""
    return mock.patch.dict(os.environ)


@functools.cache
def app(function: str | Function) -> Any:
    """Return the app of a function, as `shop.serve` builds it; or that of a function of a test's own."""
    if not isinstance(function, str):
        return app_of(function)
    with framework():
        return serve.app(function, str(FUNCTIONS / function / "main.py"))


@functools.cache
def framework_app(function: str) -> Any:
    """Return the framework's app of a function, as `functions-framework --asgi` builds it."""
    with framework():
        return create_asgi_app(function, str(FUNCTIONS / function / "main.py"))


async def call(function: str | Function, method: str = "POST", **request: Any) -> Answer:
    """Send one request, as `exchange` does, to what a container serves, and return the answer.

    Raises AssertionError when the function sent MongoDB a statement that does not name its user.
    """
    with watching(str(function)):
        sent = await exchange(app(function), method, **request)
    return Answer(
        status=sent[0]["status"],
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in sent[0]["headers"]},
        body=b"".join(message.get("body", b"") for message in sent[1:]),
    )


async def exchange(
    app: Any,
    method: str = "POST",
    *,
    path: str = "/",
    query: str | bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | Iterable[bytes] = b"",
    cut: bool = False,
    gone: asyncio.Event | None = None,
) -> list[Any]:
    """Send an app one request, its body in one piece or in several, and return what it sends back.

    The client hangs up before the end of its body when that is `cut`, else when it has `gone`.
    """
    chunks = [body] if isinstance(body, bytes) else list(body)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode() if isinstance(query, str) else query,
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 50000),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not chunks:
            if not cut:
                await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks) or cut}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent

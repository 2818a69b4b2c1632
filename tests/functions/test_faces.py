"""A function answers the same behind the framework and without it: status, headers and body, byte for byte."""

import json
from pathlib import Path
from typing import Any

import pytest

from functions.get_user.main import get_user
from shop import serve
from shop.edge import handling
from shop.edge.handling import app_of
from tests.functions.conftest import Client
from tests.support import asgi, openapi
from tests.support.functions import FUNCTIONS, PATHS, triggered
from tests.support.meeting import meeting

USER = json.dumps({"user": "Pavel", "sum": 10, "basket": "66f0c1d2e3a4b5c6d7e8f901"}).encode()

REQUESTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no JSON": {"body": b"{"},
    "another field": {"body": b'{"colour": "red", "user": "Pavel"}'},
    "a body in pieces": {"body": [USER[:9], USER[9:]]},
    "a body that is cut": {"body": USER, "cut": True},
    "a body over the limit": {"body": b" " * (handling.MAX_BODY + 1)},
    "a field in the query": {"query": "user=Pavel&user=Olga", "body": USER},
    "a query that is not UTF-8": {"query": b"user=\xff"},
    "any path": {"path": "/a/b/", "body": USER},
    "a header twice": {"headers": [("Accept", "text/plain"), ("Accept", "text/html")], "body": USER},
    "a misspelt header": {"headers": [("Idempotency_Key", "a")], "body": USER},
    "a broken trace": {"headers": [("traceparent", "00"), ("ce-traceparent", "\xff")], "body": USER},
    "half an event": {"headers": [("ce-specversion", "1.0"), ("ce-type", "x")], "body": USER},
    "a structured event": {"headers": [("Content-Type", "application/cloudevents+json")], "body": b'{"id": "\\ud800"}'},
    "a health check": {"path": "/healthz"},
    "the framework's own": {"path": "/robots.txt"},
    "the framework's own, too": {"path": "/favicon.ico"},
    "nearly the framework's own": {"path": "/robots.txt/", "body": USER},
    "a path with a line in it": {"path": "/a\nb"},
    "no path": {"path": "*"},
}


async def answer(face: Any, *request: str, **more: Any) -> list[Any]:
    """Send a request, and return the answer; of the trace that began with it only that it did."""
    head, *rest = await asgi.exchange(face, *request, **more)
    headers = [(name, b"00" if name == b"traceparent" else value) for name, value in head["headers"]]
    return [{**head, "headers": headers}, *rest]


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_whatever_is_sent_is_answered_the_same(client: Client, function: str) -> None:
    """With every method; each is sent to both, and none of them changes anything for the next."""
    await client.user()
    for what, request in REQUESTS.items():
        for method in ("GET", "POST", "HEAD", "PUT", "OPTIONS", "TRACE", "PROPFIND"):
            faces = asgi.app(function), asgi.framework_app(function)
            answers = [await answer(face, method, **request) for face in faces]
            assert answers[0] == answers[1], (what, method)


async def test_what_is_done_is_answered_the_same(client: Client) -> None:
    """Orders, deposits and reads, each sent once more to both."""
    await client.user(balance=100)
    basket = await client.basket()
    fields = {"user": "Pavel", "sum": 7, "basket": basket}
    paths = {path: function for function, path in PATHS.items()}
    for path, operation in openapi.DOCUMENT["paths"].items():
        ((method, _),) = operation.items()
        known = FUNCTIONS[paths[path]].label.takes.DESCRIPTOR.fields_by_name
        body = json.dumps({name: value for name, value in fields.items() if name in known}).encode()
        request: dict[str, Any] = {"path": path, "body": body, "headers": [("Idempotency-Key", "a")]}
        await asgi.exchange(asgi.app(paths[path]), method.upper(), **request)
        faces = asgi.app(paths[path]), asgi.framework_app(paths[path])
        answers = [await answer(face, method.upper(), **request) for face in faces]
        assert answers[0] == answers[1]
        assert answers[0][0]["status"] == 200, (path, answers[0])


@pytest.mark.parametrize("function", triggered("event"))
async def test_an_event_is_answered_the_same(client: Client, function: str) -> None:
    """Taken, and refused."""
    await client.user(balance=100)
    events = await client.ordered()
    kind = FUNCTIONS[function].label.takes
    assert kind is not None
    event = events[kind.DESCRIPTOR.name]
    for headers in (event.headers, [(name, value) for name, value in event.headers if name != "ce-id"]):
        faces = asgi.app(function), asgi.framework_app(function)
        answers = [await answer(face, headers=headers, body=event.body) for face in faces]
        assert answers[0] == answers[1]
        assert answers[0][0]["status"] == (200 if headers is event.headers else 422)


async def test_a_bug_is_answered_the_same(client: Client) -> None:
    """500, without its trace."""

    async def fail() -> None:
        raise ZeroDivisionError("secret")

    await client.user()
    with meeting("users.find_one_and_update", fail):
        faces = asgi.app("create_user"), asgi.framework_app("create_user")
        answers = [await answer(face, body=b'{"user": "Pavel"}') for face in faces]
    assert answers[0] == answers[1]
    assert answers[0][0]["status"] == 500


async def test_a_request_to_a_function_passes_no_framework(client: Client) -> None:
    """The framework answers what it would not hand to one."""
    passed: list[str] = []

    async def framework(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope.get("path", scope["type"]))

    ours = app_of(get_user)
    assert ours is not None
    served = serve.straight(ours, framework)
    await asgi.exchange(served, "GET", path="/GetUser", query="user=Pavel")
    await asgi.exchange(served, "GET", path="/healthz")
    assert passed == []
    await asgi.exchange(served, "GET", path="/robots.txt")
    await asgi.exchange(served, "TRACE", path="/GetUser")
    await served({"type": "lifespan"}, None, None)
    assert passed == ["/robots.txt", "/GetUser", "lifespan"]


async def test_a_function_that_is_not_ours_is_the_frameworks_alone(tmp_path: Path) -> None:
    """Whatever has its decorator can be served."""
    source = tmp_path / "main.py"
    source.write_text("from functions_framework import aio\n@aio.http\nasync def hello(request):\n    return 'hello'\n")
    with asgi.framework():
        served = serve.app("hello", str(source))
    assert (await asgi.exchange(served, "GET"))[1]["body"] == b"hello"

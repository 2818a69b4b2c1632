"""A page of an origin in CORS_ORIGINS may call the HTTP functions and read their answers; a page of no other may."""

from collections.abc import Callable
from typing import Any

import pytest

from shop.edge.origins import SENT, SHOWN
from tests.functions.conftest import Client
from tests.support import asgi, openapi
from tests.support.functions import FUNCTIONS, PATHS, triggered

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"  # without one, each face begins one of its own
OURS, PORTED = "https://shop.example.com", "http://localhost:5173"
OTHERS = (
    *("https://evil.example", "http://shop.example.com", "https://shop.example.com:8443", "https://a.shop.example.com"),
    *(
        "https://shop.example.com.evil.example",
        "HTTPS://shop.example.com",
        "https://shop.example.com/",
        "null",
        "",
        "*",
    ),
)
HTTP = triggered("GET", "POST")

Faces = Callable[[str], tuple[Any, Any]]


@pytest.fixture
def faces(client: Client, configure: Callable[..., None]) -> Faces:
    """Return what starts a function anew in a process that has the setting, behind the framework and without it."""
    configure(cors_origins=(OURS, PORTED))
    return lambda function: (asgi.app.__wrapped__(function), asgi.framework_app.__wrapped__(function))


async def sent(faces: tuple[Any, Any], method: str, origin: str | None, **request: Any) -> tuple[int, dict[str, str]]:
    """Send both faces a request from a page, see that they answer alike, and return status and headers."""
    headers = [
        ("traceparent", TRACE),
        *request.pop("headers", []),
        *([("Origin", origin)] if origin is not None else []),
    ]
    answers = [await asgi.exchange(face, method, headers=headers, **request) for face in faces]
    assert answers[0] == answers[1]
    return answers[0][0]["status"], {name.decode(): value.decode() for name, value in answers[0][0]["headers"]}


def cors(headers: dict[str, str]) -> dict[str, str]:
    """Return those of the headers that tell a browser something."""
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("function", HTTP)
async def test_a_preflight_tells_what_a_page_may_send(faces: Faces, function: str) -> None:
    """And does nothing."""
    started = faces(function)
    method = HTTP[function].label.trigger
    asked = [("Access-Control-Request-Method", method), ("Access-Control-Request-Headers", "idempotency-key,prefer")]
    for origin in (OURS, PORTED):
        status, headers = await sent(started, "OPTIONS", origin, path=PATHS[function], headers=asked)
        assert status == 200
        assert headers["access-control-allow-origin"] == origin
        assert method in headers["access-control-allow-methods"].split(", ")
        assert {"Authorization", "Idempotency-Key", "Prefer", "traceparent"} <= set(SENT)
        assert headers["access-control-allow-headers"] == ", ".join(SENT)
        assert (headers["vary"], headers["access-control-max-age"]) == ("Origin", "7200")
        assert "access-control-allow-credentials" not in headers


async def test_a_page_reads_whatever_is_answered(faces: Faces) -> None:
    """What was done and what was refused, and the headers that a client acts on."""
    started = faces("get_user")
    assert {"Idempotent-Replayed", "Preference-Applied", "Retry-After", "WWW-Authenticate", "traceparent"} == set(SHOWN)
    for method, query, expected in (("GET", "user=Pavel", 404), ("GET", "", 400), ("PUT", "", 405), ("HEAD", "", 400)):
        status, headers = await sent(started, method, OURS, query=query)
        assert status == expected
        assert cors(headers) == {
            "access-control-allow-origin": OURS,
            "access-control-expose-headers": ", ".join(SHOWN),
        }


@pytest.mark.parametrize("origin", [None, *OTHERS])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_any_other_page_is_told_nothing(faces: Faces, origin: str | None, method: str) -> None:
    """Origins are compared letter by letter; an answer that somebody keeps says that it depends on them."""
    asked = [("Access-Control-Request-Method", "GET")]
    _, headers = await sent(faces("get_user"), method, origin, query="user=Pavel", headers=asked)
    assert cors(headers) == {}
    assert headers["vary"] == "Origin"


async def test_without_the_setting_nobody_is_told_anything(client: Client) -> None:
    """Not even that it would depend on the origin."""
    answer = await client.query("/GetUser", {"user": "Pavel"}, Origin=OURS)
    assert cors(dict(answer.headers)) == {}
    assert "vary" not in answer.headers


@pytest.mark.parametrize("function", triggered("event", "tick"))
async def test_no_page_calls_a_consumer(faces: Faces, function: str) -> None:
    """It is nobody's but KafkaSource's or PingSource's."""
    status, headers = await sent(faces(function), "OPTIONS", OURS)
    assert (status, cors(headers)) == (405, {})


def test_the_contract_names_what_a_page_may_send() -> None:
    """docs/openapi.yaml describes it in words: it is the same for every path."""
    assert len(FUNCTIONS) > len(HTTP)
    for name in SENT:
        assert f"`{name}`" in openapi.DOCUMENT["info"]["description"]

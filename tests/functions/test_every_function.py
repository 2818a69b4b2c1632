"""What all seven HTTP functions promise: what is wrong with a request is said, in one form, and nothing is done."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from shop.edge import handling
from shop.errors import Code
from tests.functions.conftest import Client, everything
from tests.support import openapi
from tests.support.asgi import call
from tests.support.commands import counted
from tests.support.functions import FUNCTIONS, PATHS
from tests.support.meeting import meeting

BASKET = "66f0c1d2e3a4b5c6d7e8f901"

VALID: dict[str, tuple[str, dict[str, object]]] = {
    "/CreateUser": ("POST", {"user": "Olga"}),
    "/DepositCash": ("POST", {"user": "Pavel", "sum": 100}),
    "/GetUser": ("GET", {"user": "Pavel"}),
    "/GetBasket": ("GET", {"user": "Olga"}),
    "/Order": ("POST", {"user": "Pavel", "sum": 10, "basket": BASKET, "attempt": 1}),
    "/GetOrder": ("GET", {"user": "Pavel", "basket": BASKET}),
    "/List": ("GET", {"user": "Pavel", "limit": 10}),
}
VALID |= {path: openapi.example(function) for function, path in PATHS.items() if path not in VALID}
"""A request of each path that would change something, or read what is there; of a new one, what the document shows."""

MAKE = {"/GetBasket"}
"""The paths whose GET makes something."""

TEXTS, WHOLE_NUMBERS = ("user", "basket"), ("sum", "attempt", "limit")

paths = pytest.mark.parametrize("path", VALID)


def fields_of(path: str, *names: str) -> list[str]:
    """Return those of the names that are fields of the path's request."""
    return [name for name in VALID[path][1] if name in names]


def with_field(name: str, path: str, raw: bytes) -> bytes:
    """Return the path's request with one value replaced by this JSON, as it is."""
    fields = {**VALID[path][1], name: "REPLACED"}
    return json.dumps(fields).encode().replace(b'"REPLACED"', raw)


@pytest.fixture
async def refusing(client: Client) -> AsyncIterator[Client]:
    """Call the functions, and see that nothing was stored or emitted meanwhile."""
    await client.user(balance=50)
    before = await everything()
    yield client
    assert await everything() == before
    assert client.sink.received == []


@paths
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_another_method_is_answered_405_with_the_one_to_send(refusing: Client, path: str, method: str) -> None:
    """`Allow` names it, and so does the message."""
    right, fields = VALID[path]
    if method in allowed(path):
        return
    answer = await refusing.send(method, path, json.dumps(fields).encode())
    assert (answer.status, answer.headers["allow"].split(", ")) == (405, allowed(path))
    assert method == "HEAD" or right in answer.message


def allowed(path: str) -> list[str]:
    """Return the methods of a path; one that makes something by GET has no HEAD, which could not tell without it."""
    method = VALID[path][0]
    return [method, "HEAD", "OPTIONS"] if method == "GET" and path not in MAKE else [method, "OPTIONS"]


@paths
async def test_options_are_told_and_nothing_is_done(refusing: Client, path: str) -> None:
    """Whatever comes with the question; no origin is told that it may read an answer."""
    body = json.dumps(VALID[path][1]).encode()
    page = {"Origin": "https://shop.example.com", "Access_Control_Request_Method": VALID[path][0]}
    async with counted() as commands:
        for answer in (await refusing.send("OPTIONS", path, body), await refusing.send("OPTIONS", path, **page)):
            assert (answer.status, answer.headers["allow"].split(", ")) == (200, allowed(path))
            assert not any(name.startswith("access-control") or name == "vary" for name in answer.headers)
        assert commands.names == []


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@paths
async def test_a_head_makes_nothing(refusing: Client, path: str) -> None:
    """It is answered as GET is, without the body; not where GET makes something."""
    method, fields = VALID[path]
    body = json.dumps(fields).encode()
    head = await refusing.send("HEAD", path, body, traceparent=TRACE)
    assert head.body == b""
    if "HEAD" not in allowed(path):
        assert head.status == 405
        return
    got = await refusing.send(method, path, body, traceparent=TRACE)
    assert (head.status, head.headers) == (got.status, got.headers)
    assert int(head.headers["content-length"]) == len(got.body) > 0


PROBLEM = "application/problem+json"


@paths
async def test_a_problem_is_told_as_rfc_9457_says_to_who_asks_for_it(refusing: Client, path: str) -> None:
    """With the code, the status and the words of the usual form; its type points at the code in the documents."""
    method = VALID[path][0]
    for sent, body in ((method, b"["), ("PUT", b""), (method, b" " * (handling.MAX_BODY + 1))):
        usual, told = [await refusing.send(sent, path, body, Accept=accept) for accept in ("*/*", PROBLEM)]
        code = Code[usual.json["code"].upper()]
        assert told.headers["content-type"] == PROBLEM
        assert told.json == {
            "type": f"/docs/errors.md#{code}",
            "title": code.meaning,
            "status": usual.status,
            "detail": usual.message,
            "code": str(code),
        }


@pytest.mark.parametrize(
    ("accept", "is_problem"),
    [
        ((), False),
        (("",), False),
        (("*/*",), False),
        (("application/*",), False),
        (("text/html, application/problem+json;q=0",), False),
        (("application/problem+json;q=0.5, application/json",), False),
        (("application/problem+json;q=x",), False),
        (("application/json, application/problem+json",), True),
        (("application/json", "application/problem+json"), True),
        (("Application/Problem+JSON ;Q=0.5, application/json;q=0.4",), True),
    ],
)
async def test_a_problem_is_told_to_nobody_who_rather_has_json(
    refusing: Client, accept: tuple[str, ...], is_problem: bool
) -> None:
    """It must be named; who names both as much means JSON for what was done."""
    answer = await call("get_user", "GET", headers=[("Accept", each) for each in accept])
    assert (answer.headers["content-type"] == PROBLEM) == is_problem
    done = await call("get_user", "GET", query="user=Pavel", headers=[("Accept", each) for each in accept])
    assert (done.status, done.headers["content-type"]) == (200, "application/json")


@paths
@pytest.mark.parametrize(
    "body",
    [
        *(
            b"{",
            b"[]",
            b"null",
            b"true",
            b'"Pavel"',
            b"user=Pavel&sum=10",
            b"{'user': 'Pavel'}",
            b'{"user": "Pavel"} x',
        ),
        *(b'{"user": NaN}', b'{"user": Infinity}', b'{"user": "\xff"}', b'{"user": "a\nb"}', b'{"sum": 010}'),
        *(b"[" * 30_000, b'{"user": ' * 5_000, b'{"sum": ' + b"1" * 5_000 + b"}"),
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_a_body_that_is_no_json_object_is_400(refusing: Client, path: str, body: bytes) -> None:
    """Whatever is wrong with it, and however deep or long it is."""
    assert (await refusing.send(VALID[path][0], path, body)).status == 400


@pytest.mark.parametrize("path", [path for path, (method, _) in VALID.items() if method == "POST"])
async def test_a_post_without_a_body_is_400(refusing: Client, path: str) -> None:
    """A POST has no other place for its fields."""
    assert (await refusing.send("POST", path)).status == 400


@paths
@pytest.mark.parametrize("kind", ["left out", "null"])
async def test_a_missing_field_is_400_and_the_message_shows_what_to_send(
    refusing: Client, path: str, kind: str
) -> None:
    """Null counts as not sent."""
    method, fields = VALID[path]
    for name in set(fields_of(path, "user", "sum", "basket")) - ({"user"} if path == "/List" else set()):
        rest: dict[str, object] = {key: value for key, value in fields.items() if key != name}
        if kind == "null":
            rest[name] = None
        answer = await refusing.send(method, path, json.dumps(rest).encode())
        assert (answer.status, answer.message.partition(";")[0]) == (400, f"{name} is missing")
        assert '{"user": "Pavel"' in answer.message


@paths
@pytest.mark.parametrize("raw", [b"5", b"1.5", b"true", b"[]", b"{}", b'["Pavel"]'])
async def test_a_text_of_another_json_type_is_400(refusing: Client, path: str, raw: bytes) -> None:
    """Nothing is turned into text."""
    for name in fields_of(path, *TEXTS):
        answer = await refusing.send(VALID[path][0], path, with_field(name, path, raw))
        assert (answer.status, answer.message) == (400, f"{name} must be a JSON string")


@paths
@pytest.mark.parametrize("raw", [b'"10"', b"10.0", b"1e1", b"10.5", b"true", b"false", b"[10]", b"{}", b'""'])
async def test_a_number_of_another_json_type_is_400(refusing: Client, path: str, raw: bytes) -> None:
    """Whole numbers are JSON integers only: `10.0`, `1e1`, `"10"` and `true` are not."""
    for name in fields_of(path, *WHOLE_NUMBERS):
        answer = await refusing.send(VALID[path][0], path, with_field(name, path, raw))
        assert answer.status == 400
        assert answer.message.startswith(f"{name} must be a JSON integer")


IMPOSSIBLE = {
    "user": [b'""', b'"%s"' % (b"x" * 129), rb'"a\u0000b"', rb'"a\nb"', rb'"\u007f"', rb'"\u0085"', rb'"\ud800"'],
    "basket": [b'""', b'"%s"' % (b"a" * 23), b'"%s"' % (b"a" * 25), b'"%s"' % (b"g" * 24), rb'"\udfff"'],
    "sum": [b"0", b"-0", b"-1", b"1000000000001", b"9223372036854775808", b"1" + b"0" * 400],
    "attempt": [b"0", b"-1", b"9223372036854775807", b"9223372036854775808", b"1" + b"0" * 400],
    "limit": [b"0", b"-1", b"1001", b"9223372036854775808", b"1" + b"0" * 400],
}


@pytest.mark.parametrize(
    ("path", "name", "raw"),
    [
        pytest.param(path, name, raw, id=f"{path}-{name}-{raw[:24].decode()}")
        for path in VALID
        for name in fields_of(path, *IMPOSSIBLE)
        for raw in IMPOSSIBLE[name]
    ],
)
async def test_an_impossible_value_is_422_and_the_message_names_its_field(
    refusing: Client, path: str, name: str, raw: bytes
) -> None:
    """The type is right, yet no such value can ever be valid."""
    answer = await refusing.send(VALID[path][0], path, with_field(name, path, raw))
    assert answer.status == 422
    assert answer.message.startswith(name)


@paths
async def test_a_body_over_the_limit_is_413_and_one_at_the_limit_is_read(client: Client, path: str) -> None:
    """64 KiB is the most; blanks around JSON count like everything else."""
    method, fields = VALID[path]
    await client.user()
    body = json.dumps(fields).encode().ljust(handling.MAX_BODY)
    assert (await client.send(method, path, body)).status in (200, 404)
    assert (await client.send(method, path, body + b" ")).status == 413


@paths
async def test_what_is_not_looked_at_changes_nothing(client: Client, path: str) -> None:
    """A GET's unknown fields, null for what is optional, any Host, any or no Content-Type."""
    method, fields = VALID[path]
    await client.user()
    more = {"colour": "red", "before": None} if method == "GET" else {}
    body = json.dumps({**fields, **more}).encode()
    statuses = {(await client.send(method, path, body)).status}
    for host in ("shop.example.com", "[::1", "x/healthz?", "", "a b"):
        statuses.add((await client.send(method, path, body, host=host)).status)
    for content_type in ("text/xml", "application/x-www-form-urlencoded", "nonsense", ""):
        statuses.add((await client.send(method, path, body, content_type=content_type)).status)
    assert statuses in ({200}, {404})


POSTS = [path for path, (method, _) in VALID.items() if method == "POST"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("User", "did you mean user?"),
        ("usr", "did you mean user?"),
        ("colour", "the fields are user"),
        ("", "the fields are user"),
        ("\ud800", "the fields are user"),
        ("x" * 10_000, "the fields are user"),
        ("Idempotency-Key", "the fields are user"),
    ],
)
async def test_19_an_unknown_field_of_a_post_is_400_and_the_nearest_one_is_named(
    refusing: Client, path: str, name: str, advice: str
) -> None:
    """A misspelt field would lose the promise without a word; null does not save it."""
    for value in ("x", None):
        body = json.dumps({**VALID[path][1], name: value}).encode()
        answer = await refusing.send("POST", path, body)
        assert (answer.status, advice in answer.message) == (400, True)
        assert len(answer.message) < 300


async def test_19_a_misspelt_attempt_is_400_and_named(refusing: Client) -> None:
    """Sent three times it was three orders of one basket."""
    for name in ("Attempt", "attempts", "atempt", "ATTEMPT"):
        answer = await refusing.post("/Order", {"user": "Pavel", "sum": 10, "basket": BASKET, name: 1})
        assert (answer.status, "did you mean attempt?" in answer.message) == (400, True)


@pytest.mark.parametrize("path", POSTS)
async def test_19_a_field_of_a_post_in_its_query_is_400(refusing: Client, path: str) -> None:
    """Not looked at, `?attempt=1` made new orders of one; what is none of ours is left alone."""
    method, fields = VALID[path]
    for query in (*(f"{name}=1" for name in fields), "Idempotency-Key=a", "idempotency_key=a", "User=Olga"):
        answer = await refusing.send(method, path, json.dumps(fields).encode(), query=query)
        assert (answer.status, "in the query" in answer.message) == (400, True)


async def test_a_query_that_has_none_of_its_fields_is_not_looked_at(client: Client) -> None:
    """Clients add what helps them to trace."""
    assert (await client.send("POST", "/CreateUser", b'{"user": "Olga"}', query="utm=1&x=%20")).status == 200


@paths
async def test_19_a_json_key_sent_twice_is_400(refusing: Client, path: str) -> None:
    """Nobody can tell which of the two is meant, even if they are equal."""
    method, fields = VALID[path]
    whole = json.dumps(fields)
    answer = await refusing.send(method, path, f'{{"user": "Pavel", {whole[1:]}'.encode())
    assert (answer.status, answer.message) == (400, "'user' is sent twice; send it once")


@pytest.mark.parametrize(
    "name",
    ["Idempotency_Key", "X-Idempotency-Key", "IdempotencyKey", "Idempotent-Key", "Idempotency-Keys", "Idempotecy-Key"],
)
async def test_19_a_header_that_is_meant_for_idempotency_key_is_400(refusing: Client, name: str) -> None:
    """Not looked at, it made four deposits of one."""
    answer = await call("deposit_cash", headers=[(name, "a")], body=json.dumps({"user": "Pavel", "sum": 10}).encode())
    openapi.check_answer("/DepositCash", answer.status, answer.headers, answer.body)
    assert (answer.status, name.lower() in answer.message, "Idempotency-Key" in answer.message) == (400, True, True)


@pytest.mark.parametrize("path", [path for path, (method, _) in VALID.items() if method == "GET"])
async def test_a_get_takes_its_fields_from_the_query_the_body_or_both(client: Client, path: str) -> None:
    """The answer is the same; a null in the body leaves the field to the query."""
    fields = VALID[path][1]
    await client.user()
    in_body, in_query = await client.get(path, fields), await client.query(path, fields)
    assert in_body.json == in_query.json
    query = "&".join(f"{name}={value}" for name, value in fields.items())
    in_both = await client.send("GET", path, json.dumps(fields).encode(), query=f"{query}&{query}")
    nulls = await client.send("GET", path, json.dumps(dict.fromkeys(fields)).encode(), query=query)
    assert in_both.json == nulls.json == in_body.json


@pytest.mark.parametrize(
    ("body", "query"),
    [
        (b'{"user": "Pavel"}', "user=Olga"),
        (b"", "user=Pavel&user=Olga"),
        (b'{"user": ["Pavel"]}', "user=Pavel"),
        (b'{"user": ""}', "user=Pavel"),
        (b'{"user": false}', "user=Pavel"),
    ],
)
@pytest.mark.parametrize("path", ["/GetUser", "/GetBasket", "/List"])
async def test_a_get_whose_query_and_body_differ_is_400(refusing: Client, path: str, body: bytes, query: str) -> None:
    """Nobody can tell which of them is meant."""
    answer = await refusing.send("GET", path, body, query=query)
    assert (answer.status, "differs" in answer.message) == (400, True)


@pytest.mark.parametrize(("body", "query"), [(b'{"limit": true}', "limit=1"), (b'{"limit": 1.0}', "limit=1")])
async def test_a_number_of_the_wrong_type_is_not_saved_by_the_query(refusing: Client, body: bytes, query: str) -> None:
    """True is 1 in Python, and is not in JSON."""
    assert (await refusing.send("GET", "/List", body, query=query)).status == 400


@pytest.mark.parametrize("user", ["Павел", "$balance", "😀", "a b&c=d+e%f", "null", "0", "  "])
async def test_any_script_and_any_sign_passes_through_query_and_body(client: Client, user: str) -> None:
    """A user is text, whatever it looks like."""
    await client.user(user)
    assert (await client.query("/GetUser", {"user": user})).message == user
    assert (await client.get("/GetUser", {"user": user})).message == user


async def test_a_query_may_be_utf8_that_is_not_percent_encoded(client: Client) -> None:
    """Some clients send it so."""
    await client.user("Павел")
    assert (await client.send("GET", "/GetUser", query="user=Павел".encode())).status == 200


@pytest.mark.parametrize("query", [b"user=%FF", b"user=\xff", b"user=%D0", b"user=%ED%A0%80"])
async def test_a_query_that_is_not_utf8_is_400(refusing: Client, query: bytes) -> None:
    """It is not taken for another user, one with replacement characters."""
    await refusing.send("GET", "/GetUser", query=query)
    assert (await refusing.send("GET", "/GetUser", query=query)).status == 400


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        *((limit, 422) for limit in ("0", "-1", "1001", "9" * 25)),
        *((limit, 400) for limit in ("", "ten", "1.0", "1e1", "+5", " 5", "١", "9" * 5_000)),
        ("5", 200),
    ],
)
async def test_a_number_in_the_query_is_held_to_the_same_rules(refusing: Client, limit: str, status: int) -> None:
    """No fraction, no exponent, ASCII digits, in its range."""
    assert (await refusing.query("/List", {"limit": limit})).status == status


@paths
async def test_a_function_answers_on_any_path(client: Client, path: str) -> None:
    """Its host names it; what leads a path to it is the HTTPRoute's business."""
    ((_, operation),) = openapi.DOCUMENT["paths"][path].items()
    method, fields = VALID[path]
    await client.user()
    for other in ("/", "/a/b", "/healthz/", "/Healthz"):
        answer = await call(operation["operationId"], method, path=other, body=json.dumps(fields).encode())
        openapi.check_answer(path, answer.status, answer.headers, answer.body)
        assert answer.status in (200, 404)


@paths
async def test_a_body_in_pieces_is_one_body(client: Client, path: str) -> None:
    """However it is cut, within a character too; the limit is on all of them together."""
    ((_, operation),) = openapi.DOCUMENT["paths"][path].items()
    method, fields = VALID[path]
    await client.user()
    body = json.dumps({**fields, "user": "Павел"}, ensure_ascii=False).encode()
    whole = await client.send(method, path, body)
    pieces = await call(operation["operationId"], method, body=[body[at : at + 1] for at in range(len(body))])
    assert pieces.status == whole.status
    too_many = await call(operation["operationId"], method, body=[b" " * 1024] * 65)
    assert too_many.status == 413


@paths
async def test_a_body_whose_end_does_not_come_is_400(refusing: Client, path: str) -> None:
    """Even if what came is JSON: whoever hung up does not count on its being done."""
    ((_, operation),) = openapi.DOCUMENT["paths"][path].items()
    method, fields = VALID[path]
    answer = await call(operation["operationId"], method, body=json.dumps(fields).encode(), cut=True)
    openapi.check_answer(path, answer.status, answer.headers, answer.body)
    assert answer.status == 400


@paths
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_is_answered_once_the_database_is_known_to_be_set_up(
    client: Client, path: str, method: str
) -> None:
    """From then on without MongoDB."""
    ((_, operation),) = openapi.DOCUMENT["paths"][path].items()
    assert (await call(operation["operationId"], method, path="/healthz")).status == 200
    async with counted() as commands:
        assert (await call(operation["operationId"], method, path="/healthz")).status == 200
        assert commands.names == []


@paths
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_18_a_health_check_is_a_get_and_whatever_else_is_sent_there_is_refused(
    refusing: Client, path: str, method: str
) -> None:
    """A deposit that goes to the wrong path is not answered 200."""
    ((_, operation),) = openapi.DOCUMENT["paths"][path].items()
    body = json.dumps(VALID[path][1]).encode()
    answer = await call(operation["operationId"], method, path="/healthz", body=body)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_bug_is_500_without_a_trace(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The answer has the form of every error; the trace is in the log and nowhere else."""

    async def fail() -> None:
        raise ZeroDivisionError("secret")

    with meeting("users.find_one_and_update", fail):
        answer = await client.post("/CreateUser", {"user": "Pavel"})
    assert answer.status == 500
    assert "secret" not in answer.text
    assert "repeat" not in answer.message  # nobody knows what that would do
    assert any(record.exc_info for record in caplog.records)


def test_what_every_function_waits_for_at_its_start_has_no_http_client_and_verifies_no_tokens() -> None:
    """Reading what it needs is most of a cold start; in a process of its own, for the tests read more.

    Only where tokens are demanded it reads what verifies them, before the first one comes.
    """
    names = ", ".join(f"functions.{name}.main" for name in FUNCTIONS)
    unwanted = {"aiohttp", "httpx", "requests", "jwt", "cryptography"}
    found = f"import sys, shop.serve, {names}; print(*{unwanted} & sys.modules.keys())"
    run = subprocess.run((sys.executable, "-c", found), cwd=openapi.ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
    auth = {f"AUTH_{name}": f"https://issuer.example/{name}" for name in ("JWKS_URL", "ISSUER", "AUDIENCE")}
    command = (sys.executable, "-c", found)
    run = subprocess.run(command, cwd=openapi.ROOT, env=auth, capture_output=True, text=True, check=True)
    assert {*run.stdout.split()} == {"jwt", "cryptography"}

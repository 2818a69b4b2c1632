"""Every HTTP function against what docs/openapi.yaml allows, what it does not, and noise.

Never a 5xx, never an answer that the document does not describe, never a change by a request that was refused.
`FUZZ_EXAMPLES=2000` tries as many new examples of each.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import urlencode, urlsplit

import pytest
import requests
import schemathesis
from bson import Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from shop.edge import handling
from shop.store.client import collection
from tests.functions.conftest import Client, everything
from tests.support import openapi
from tests.support.asgi import Answer, call
from tests.support.examples import examples

SCHEMA = schemathesis.openapi.from_path(openapi.FILE)
OPERATIONS = {path: (method, str(operation["operationId"])) for path, method, operation in openapi.operations()}

TIMEOUT_S = 15
"""Beyond the deadline of a function: what takes longer hangs."""

LONG_WAIT = re.compile(rb"(wait=)([0-9]{2,}|[2-9])")
"""In a query or a header; such a client is made to wait a second."""


@pytest.fixture
async def stocked(client: Client) -> AsyncIterator[None]:
    """Have the user and the basket of the document's examples, so that valid requests get somewhere."""
    await client.user(balance=1000)
    await collection("orders", "baskets").insert_one(
        {
            "_id": ObjectId("66f0c1d2e3a4b5c6d7e8f901"),
            "user": "Pavel",
            "number": Int64(1),
            "status": "open",
            "attempt": Int64(0),
        }
    )
    yield
    assert await client.balance() >= 1000  # nothing was delivered, so nothing was charged


async def send(
    path: str, method: str, query: bytes, headers: list[tuple[str, str]], body: bytes | list[bytes]
) -> Answer:
    """Send a request and hold the answer to all that is promised."""
    before = await everything()
    query = LONG_WAIT.sub(rb"\g<1>1", query)
    headers = [(name, LONG_WAIT.sub(rb"\g<1>1", text.encode("latin-1")).decode("latin-1")) for name, text in headers]
    async with asyncio.timeout(TIMEOUT_S):
        answer = await call(OPERATIONS[path][1], method, path=path, query=query, headers=headers, body=body)
    openapi.check_answer(path, answer.status, answer.headers, answer.body, method)
    assert answer.status < 500, answer
    if answer.status != 200 or method in ("HEAD", "OPTIONS"):
        assert await everything() == before, answer
    return answer


async def send_case(case: Case) -> Answer:
    """Send what schemathesis made."""
    arguments = case.as_transport_kwargs(base_url="http://127.0.0.1")
    names = ("method", "url", "headers", "params", "data", "json", "cookies")
    prepared = requests.Request(**{name: arguments[name] for name in names if name in arguments}).prepare()
    body = prepared.body or b""
    return await send(
        case.path,
        str(prepared.method),
        urlsplit(str(prepared.url)).query.encode(),
        [(str(name), str(value)) for name, value in prepared.headers.items()],
        body.encode() if isinstance(body, str) else body,
    )


@pytest.mark.parametrize("path", OPERATIONS)
@examples(25)
@given(data=st.data())
async def test_what_the_document_allows_is_understood(stocked: None, path: str, data: st.DataObject) -> None:
    """A POST that it allows is never malformed: it is done, or there is no such thing, or it contradicts.

    But for `10.0`, which JSON Schema, other than we and the document's text, takes for an integer.
    """
    method, _ = OPERATIONS[path]
    answer = await send_case(data.draw(SCHEMA[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE)))
    if method == "POST":
        assert answer.status in (200, 404, 422) or "must be a JSON integer" in answer.message, answer


@pytest.mark.parametrize("path", OPERATIONS)
@examples(25)
@given(data=st.data())
async def test_what_the_document_does_not_allow_changes_nothing(stocked: None, path: str, data: st.DataObject) -> None:
    """Where it is harmless all the same, such as an unknown parameter, it may be done."""
    method, _ = OPERATIONS[path]
    await send_case(data.draw(SCHEMA[path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda values: st.lists(values, max_size=5) | st.dictionaries(st.text(st.characters()), values, max_size=5),
    max_leaves=10,
)
fields = st.sampled_from(["user", "sum", "basket", "attempt", "limit", "before", "wait"])
known = st.sampled_from(["Pavel", "66f0c1d2e3a4b5c6d7e8f901", 1, 10, None])
bodies = (
    st.dictionaries(fields | st.text(), known | json_values).map(lambda value: json.dumps(value).encode())
    | json_values.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | st.binary(max_size=300)
    | st.integers(handling.MAX_BODY - 2, handling.MAX_BODY + 2).map(lambda size: b'{"user": "Pavel"}'.ljust(size))
)
queries = st.binary(max_size=60) | st.lists(st.tuples(fields, known | st.integers() | st.text())).map(
    lambda pairs: urlencode(pairs).encode()
)
header_values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=40)
headers = st.lists(
    st.tuples(
        st.sampled_from(["host", "content-type", "accept", "idempotency-key", "traceparent", "ce-id", "x", "prefer"]),
        header_values
        | st.sampled_from(
            [
                "text/plain",
                "application/json;q=1",
                "application/problem+json",
                "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            ]
        )
        | st.sampled_from(["wait=0", "wait=1", "wait=20, respond-async", 'wait="1"', "wait"]),
    )
)


@pytest.mark.parametrize("path", OPERATIONS)
@examples(40)
@given(data=st.data())
async def test_noise_changes_nothing(stocked: None, path: str, data: st.DataObject) -> None:
    """Any method, query, headers and body, in any number of pieces."""
    others = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]
    method = data.draw(st.sampled_from([OPERATIONS[path][0]] * 5 + others))
    body = data.draw(bodies)
    cut = data.draw(st.integers(0, len(body)))
    await send(path, method, data.draw(queries), data.draw(headers), [body[:cut], body[cut:]])

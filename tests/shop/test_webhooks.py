"""A receiver is told of a decision under one id, in the same words, signed so that the public library believes it."""

import base64
import json
from collections.abc import AsyncIterator, Callable

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from shop import webhooks
from shop.edge.handling import DEADLINE_S
from shop.emission import receiver
from shop.errors import Code, Unavailable
from shop.process import process
from shop.process.process import Process
from shop.process.settings import Webhooks
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided
from tests.support import openapi
from tests.support.sink import CLOSE, HANG, Sink

OLD, NEW = b"o" * 24, b"n" * 32


def decided(**changes: object) -> PaymentDecided:
    """Return a decision."""
    fields = {"user": "Павел", "basket": "66f0c1d2e3a4b5c6d7e8f901", "number": 1, "attempt": 2, "sum": 10, **changes}
    event = PaymentDecided(**{"outcome": PAID, **fields})
    event.decided_at.FromMilliseconds(1_795_000_000_250)
    return event


@pytest.fixture
async def told(configure: Callable[..., None]) -> AsyncIterator[Sink]:
    """Be the receiver that is configured, at a private address that is allowed."""
    async with Sink() as sink:
        configure(webhooks=Webhooks((sink.url,), (OLD, NEW), private=True))
        yield sink


def library(secret: bytes) -> Webhook:
    """Return the public library, with one secret."""
    return Webhook(f"whsec_{base64.b64encode(secret).decode()}")


async def test_the_public_library_believes_it(told: Sink) -> None:
    """With the secret of before and with the one of after, while they change; with no other, and nothing edited."""
    assert await webhooks.tell(decided()) == "told"
    (request,) = told.received
    headers = dict(request.headers)
    for secret in (OLD, NEW):
        library(secret).verify(request.body, headers)
    for body, secret in ((request.body, b"x" * 24), (request.body.replace(b"10", b"99"), NEW)):
        with pytest.raises(WebhookVerificationError):
            library(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        library(NEW).verify(request.body, headers | {"webhook-id": "another"})


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({}, {"outcome": "paid", "decline_code": None}),
        (
            {"outcome": DECLINED, "reason": "insufficient funds"},
            {"outcome": "declined", "decline_code": "insufficient_funds"},
        ),
    ],
    ids=["paid", "declined"],
)
async def test_it_says_what_the_contract_says(told: Sink, changes: dict[str, object], data: dict[str, object]) -> None:
    """docs/openapi.yaml describes it among the webhooks, its headers too."""
    await webhooks.tell(decided(**changes))
    (request,) = told.received
    said = json.loads(request.body)
    about = {"basket": "66f0c1d2e3a4b5c6d7e8f901", "user": "Павел", "attempt": 2, "sum": 10}
    assert said == {"type": "payment.decided", "timestamp": "2026-11-18T11:06:40.25Z", "data": {**about, **data}}
    operation = openapi.DOCUMENT["webhooks"]["payment.decided"]["post"]
    openapi.validate(said, operation["requestBody"]["content"]["application/json"]["schema"])
    described = {each["name"]: each["schema"] for each in operation["parameters"]}
    for name, schema in described.items():
        value = request.header(name)
        openapi.validate(int(value or "") if schema["type"] == "integer" else value, schema)
    sent = {name.lower() for name, _ in request.headers}
    assert sent == described.keys() | {"host", "content-type", "content-length", "connection"}


async def test_a_repeat_has_the_same_id_and_words_and_a_signature_of_its_own_time(told: Sink) -> None:
    """A receiver refuses what was signed five minutes ago, and a retry may come an hour later."""
    for moment in (1_795_000_000, 1_795_003_600):
        await webhooks.tell(decided(), lambda moment=moment: moment + 0.9)
    first, second = told.received
    assert (first.body, first.header("webhook-id")) == (second.body, second.header("webhook-id"))
    assert [each.header("webhook-timestamp") for each in (first, second)] == ["1795000000", "1795003600"]
    assert first.header("webhook-signature") != second.header("webhook-signature")
    assert first.header("webhook-id") == "66f0c1d2e3a4b5c6d7e8f901_2"
    assert webhooks.key(decided(attempt=3)) == "66f0c1d2e3a4b5c6d7e8f901_3"


@pytest.mark.parametrize("answer", [301, 307, 400, 401, 404, 408, 422, 429, 500, 502, 503, CLOSE])
async def test_what_a_receiver_does_not_take_is_tried_again(told: Sink, answer: int) -> None:
    """Also what it refuses: it may be mended within the hour, and after that it is in the dead letters."""
    told.answers = [answer]
    with pytest.raises(Unavailable) as refused:
        await webhooks.tell(decided())
    assert refused.value.code is Code.WEBHOOK_NOT_TAKEN
    assert refused.value.code.retryable
    assert told.url not in str(refused.value)  # it may have a token in it
    assert len(told.received) == 1  # a redirect is not followed
    assert await webhooks.tell(decided()) == "told"


async def test_a_receiver_that_is_gone_is_told_nothing_more_of_it(told: Sink) -> None:
    """410 is its word for that."""
    told.answers = [410]
    assert await webhooks.tell(decided()) == "gone"


async def test_a_receiver_that_does_not_answer_is_given_up_in_time(told: Sink) -> None:
    """Inside the time that a function has."""
    assert receiver.TIMEOUT_S < DEADLINE_S
    told.answers = [HANG]
    impatient = Process(process.current().settings, patience=0.02)
    with process.running(impatient), pytest.raises(Unavailable, match="no answer within 8 s"):
        await webhooks.tell(decided())


async def test_one_receiver_keeps_no_other_from_being_told(told: Sink, configure: Callable[..., None]) -> None:
    """The one that took it is told again under the same id; no text that is logged has an address or a secret."""
    async with Sink(answers=[500]) as other:
        webhook = Webhooks((other.url, told.url), (NEW,), private=True)
        configure(webhooks=webhook)
        with pytest.raises(Unavailable, match="answered 500"):
            await webhooks.tell(decided())
        assert await webhooks.tell(decided()) == "told"
    assert len({each.header("webhook-id") for each in told.received}) == 1
    assert len(told.received) == 2
    assert repr(webhook) == "Webhooks(private=True)"


async def test_nobody_is_told_of_anything_by_default(configure: Callable[..., None]) -> None:
    """Without an address there is nothing to do."""
    configure(webhooks=None)
    assert await webhooks.tell(decided()) == "nobody to tell"


async def test_a_private_address_is_refused_unless_it_is_allowed(told: Sink, configure: Callable[..., None]) -> None:
    """By its number and by its name; nothing is sent."""
    for url in (told.url, told.url.replace("127.0.0.1", "localhost")):
        configure(webhooks=Webhooks((url,), (NEW,)))
        with pytest.raises(Unavailable, match="is not public"):
            await webhooks.tell(decided())
    assert told.connections == 0

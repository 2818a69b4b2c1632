"""The buttons: whoever may not push cannot, a form of somebody else does nothing, what was done is recorded."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn
from urllib.parse import urlencode

import pytest
from bson import Int64, ObjectId

from local.servers.mongodb import Mongod
from operate import actions
from operate.console import served
from operate.letters import Letter
from operate.places import Address
from shop.process import process
from shop.process.process import Process
from shop.schema.events_pb2 import PaymentRequested
from shop.store.client import collection
from tests.operate.console.conftest import HOST, Browser, Handed
from tests.operate.console.test_pages import letter, ordered
from tests.operate.stored import baskets, users
from tests.support.issuer import Issuer, token
from tests.support.processes import shop_serve
from tests.support.sink import HANG, Received, Sink
from tests.support.stack_fixtures import eventually

WHY = {"why": "the customer waits"}


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """Listen where the KafkaSinks and the functions are."""
    async with Sink() as listening:
        yield listening


@pytest.fixture
def pushing(shop_opened: Callable[..., Handed], sink: Sink) -> Browser:
    """Return somebody who may push, in a shop whose sinks and functions take what is sent."""
    opened = shop_opened(anybody_may_push=True)
    at = Address(sink.url, "a test")
    names = ("payments", "results", "dead-letters")
    places = replace(opened.running.places, sinks=dict.fromkeys(names, at), functions={"billing-handler": at})
    opened.running.places = places
    return Browser(opened)


def posted(sink: Sink) -> list[Received]:
    """Return what was sent there; whether a function is well is asked all the time."""
    return [each for each in sink.received if each.request_line.startswith("POST")]


async def everything() -> list[Any]:
    """Return what is stored of orders and money."""
    kept = ("orders.baskets", "billing.users", "billing.paid_baskets", "notify.notifications")
    return [await collection(*name.split(".")).find().sort("_id").to_list() for name in kept]


async def asked(browser: Browser, path: str, **query: object) -> dict[str, str]:
    """Open the page that asks, and return its form with a reason."""
    answer = await browser.get(path, **query)
    assert answer.status == 200
    return {**answer.form, **WHY}


async def test_an_order_is_asked_for_again_once_and_it_is_recorded(pushing: Browser, sink: Sink) -> None:
    """The event is the one that resend_orders emits; the same form sent twice sends it once; the story shows it."""
    basket = ordered("Павел")
    await baskets().insert_one(basket)
    before = await everything()
    form = await asked(pushing, "/ask", basket=basket["_id"])
    for _ in range(2):
        answer = await pushing.push("/ask", form)
        assert (answer.status, answer.headers["location"]) == (303, f"/order?basket={basket['_id']}")
    (event,) = posted(sink)
    assert event.header("ce-id") == f"{basket['_id']}.1"
    assert PaymentRequested.FromString(event.body).user == "Павел"
    assert await everything() == before
    (action,) = actions.of(pushing.shop.databases, str(basket["_id"]))
    assert (action.verb, action.why, action.who) == ("ask for payment again", WHY["why"], "anybody on this machine")
    assert action.outcome == f"PaymentRequested {basket['_id']}.1 was sent"
    words = (await pushing.get("/order", basket=basket["_id"])).words
    assert "anybody on this machine: ask for payment again (the customer waits): PaymentRequested" in words


async def test_a_console_that_is_killed_in_the_middle_of_a_push_has_recorded_it(
    pushing: Browser, sink: Sink, mongod: Mongod
) -> None:
    """Who pushed is known, and that nobody knows how it ended; that form is spent, another one sends the same again."""
    basket = ordered("Павел")
    await baskets().insert_one(basket)
    form, again = [await asked(pushing, "/ask", basket=basket["_id"]) for _ in range(2)]
    sink.answers = [HANG]
    at = {"MONGODB_URI": mongod.uri, "SINK_URL": sink.url.replace("payments", "{name}"), "CONSOLE_PUSH": "anybody"}
    async with shop_serve("console", **at) as console:
        headers = ("Host: 127.0.0.1", "Sec-Fetch-Site: same-origin")
        push = asyncio.create_task(console.send("POST", "/ask", urlencode(form).encode(), *headers))
        await eventually(lambda: asyncio.sleep(0, bool(posted(sink))))
        console.process.kill()
        await asyncio.gather(push, return_exceptions=True)
    (event,) = posted(sink)
    (action,) = actions.of(pushing.shop.databases, str(basket["_id"]))
    assert (action.why, action.outcome) == (WHY["why"], "")
    words = (await pushing.get("/order", basket=basket["_id"])).words
    assert "(the customer waits): how it ended is not known" in words
    assert (await pushing.push("/ask", form)).status == 303
    assert posted(sink) == [event]
    assert (await pushing.push("/ask", again)).status == 303
    _, repeated = posted(sink)
    assert (repeated.header("ce-id"), repeated.body) == (event.header("ce-id"), event.body)


@pytest.mark.parametrize("status", ["open", "paid"])
async def test_nobody_is_asked_about_what_is_decided(pushing: Browser, sink: Sink, status: str) -> None:
    """Billing might decide anew what it has lost."""
    basket = ordered("Ann")
    await baskets().insert_one(basket)
    form = await asked(pushing, "/ask", basket=basket["_id"])
    await baskets().update_one({"_id": basket["_id"]}, {"$set": {"status": status}})
    assert (await pushing.get("/ask", basket=basket["_id"])).status == 409
    assert (await pushing.push("/ask", form)).status == 409
    assert posted(sink) == []
    (action,) = actions.of(pushing.shop.databases, str(basket["_id"]))
    assert action.outcome.startswith("failed: this basket is not ordered now")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "", "origin": "http://evil.example"},
        {"sec_fetch_site": "", "origin": ""},
        {"sec_fetch_site": "", "origin": "null"},
        {"origin": "http://evil.example"},
        {"host": "evil.example", "origin": "http://evil.example"},  # a name that leads here
    ],
)
async def test_what_no_page_of_the_console_sent_is_refused(
    pushing: Browser, sink: Sink, headers: dict[str, str]
) -> None:
    """Another site cannot push through somebody's browser, whatever name it gives this machine."""
    basket = ordered("Ann")
    await baskets().insert_one(basket)
    form = await asked(pushing, "/ask", basket=basket["_id"])
    answer = await pushing.push("/ask", form, **headers)
    assert answer.status == 403
    assert posted(sink) == []
    assert actions.latest(pushing.shop.databases) == []
    old_browser = await pushing.push("/ask", form, sec_fetch_site="")
    assert old_browser.status == 303


async def test_where_nobody_is_identified_the_console_only_reads(
    shop_opened: Callable[..., Handed], pushing: Browser, sink: Sink
) -> None:
    """By default: there is no form, and a POST is refused."""
    basket = ordered("Ann")
    await baskets().insert_one(basket)
    form = await asked(pushing, "/ask", basket=basket["_id"])
    reading = Browser(shop_opened())
    reading.shop.dead = [letter()]  # type: ignore[attr-defined]
    for path, query in (("/ask", {"basket": basket["_id"]}), ("/redrive", {}), ("/park", {}), ("/verify", {})):
        page = await reading.get(path, **query)
        assert page.form == {}
        assert "the console is read-only here" in page.words.lower()
        refused = await reading.push(path, form)
        assert (refused.status, "read-only" in refused.words) == (403, True)
    assert posted(sink) == []
    assert actions.latest(reading.shop.databases) == []


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"why": ""}, 400),
        ({"why": "   "}, 400),
        ({"why": "x" * 201}, 400),
        ({"why": "a\nb"}, 400),
        ({"id": "none"}, 400),
        ({"why": "x" * 20_000}, 413),
    ],
)
async def test_a_push_needs_a_reason_in_a_line(pushing: Browser, sink: Sink, form: dict[str, str], status: int) -> None:
    """And the console's own form; nothing is done otherwise, and nothing recorded."""
    basket = ordered("Ann")
    await baskets().insert_one(basket)
    whole = await asked(pushing, "/ask", basket=basket["_id"])
    assert (await pushing.push("/ask", whole | form)).status == status
    assert posted(sink) == []
    assert actions.latest(pushing.shop.databases) == []


def dead(reason: str = "wrong_event: it was edited") -> Letter:
    """Return a letter about Ann's basket."""
    return letter(PaymentRequested(user="Ann", basket="66b1f0c2a5d3e4f601020304", attempt=1, sum=5), reason)


async def test_a_redrive_says_first_what_it_would_do(pushing: Browser, sink: Sink) -> None:
    """Which letters go to whom, and which are skipped; nothing is sent until it is pushed."""
    pushing.shop.dead = [dead(), replace(dead(), parked="by hand")]  # type: ignore[attr-defined]
    group = {"consumer": "billing-handler", "code": "422", "error": "wrong_event", "kind": "it was edited"}
    page = await pushing.get("/redrive", **group)
    assert "1 would be sent again to billing-handler. 1 are skipped: parked." in page.words
    assert "1 of billing-handler: wrong_event, it was edited; redriven 0 times" in page.words
    assert posted(sink) == []
    answer = await pushing.push("/redrive", {**page.form, **WHY})
    assert answer.status == 303
    mark, event = posted(sink)
    assert (mark.header("ce-replaycount"), event.header("ce-replaycount")) == ("1", "1")
    (action,) = actions.latest(pushing.shop.databases)
    assert (action.verb, action.outcome) == ("redrive", "1 delivered")
    assert action.about == ("66b1f0c2a5d3e4f601020304",)


async def test_what_came_after_the_question_is_not_pushed(pushing: Browser, sink: Sink) -> None:
    """Nobody has seen it; a form that says nothing of when pushes nothing."""
    pushing.shop.dead = [dead()]  # type: ignore[attr-defined]
    form = await asked(pushing, "/park")
    late = replace(letter(reason="wrong_event: another"), at=dead().at + timedelta(milliseconds=1))
    pushing.shop.dead = [dead(), late]  # type: ignore[attr-defined]
    assert (await pushing.push("/park", form)).status == 303
    assert len(posted(sink)) == 1
    for until in ("", "x", "9" * 99):
        nothing = {**form, "id": str(ObjectId()), "until": until}
        assert (await pushing.push("/park", nothing)).status == 303
    assert len(posted(sink)) == 1


async def test_a_question_lists_some_letters_and_counts_the_others(pushing: Browser) -> None:
    """Thousands may wait."""
    pushing.shop.dead = [dead()] * 53  # type: ignore[attr-defined]
    for path in ("/redrive", "/park"):
        page = await pushing.get(path)
        assert len([tag for tag, attributes in page.tags if "/letter?" in (attributes.get("href") or "")]) == 50
        assert "and 3 more" in page.words


async def test_a_form_that_does_not_come_is_given_up(pushing: Browser) -> None:
    """Nothing is done, and it is no bug of ours."""

    async def never() -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    headers = [(b"host", HOST.encode()), (b"sec-fetch-site", b"same-origin")]
    scope = {"type": "http", "method": "POST", "path": "/ask", "query_string": b"", "headers": headers}
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    with process.running(Process(process.current().settings, patience=0.005)):
        await vars(served("console", pushing.shop))["app"](scope, never, send)
    assert said[0]["status"] == 408
    assert actions.latest(pushing.shop.databases) == []


async def test_only_the_letters_of_the_group_are_pushed(pushing: Browser, sink: Sink) -> None:
    """Not those of another reason."""
    pushing.shop.dead = [dead(), dead("other_terms: ordered for 5")]  # type: ignore[attr-defined]
    form = await asked(pushing, "/park", consumer="billing-handler", error="other_terms")
    assert (await pushing.push("/park", form)).status == 303
    (mark,) = posted(sink)
    assert mark.header("ce-parked") == WHY["why"]
    assert [each.outcome for each in actions.latest(pushing.shop.databases)] == ["parked 1"]
    refused = await pushing.push("/park", {**form, "id": str(ObjectId()), "why": "Павел ждёт"})
    assert (refused.status, len(posted(sink))) == (400, 1)


async def test_a_customer_or_everybody_is_verified(pushing: Browser) -> None:
    """The number of problems is recorded; that of everybody counts for the status, once it has come to its end."""
    await users().insert_one({"_id": "Ann", "balance": Int64(5), "deposits": []})
    assert (await pushing.push("/verify", await asked(pushing, "/verify", user="Ann"))).status == 303
    (action,) = actions.of(pushing.shop.databases, "Ann")
    assert action.outcome == "1 problems; 1 balance"
    await users().delete_many({})
    assert (await pushing.push("/verify", await asked(pushing, "/verify"))).headers["location"] == "/actions"

    async def ended() -> bool:
        return actions.last_verification(pushing.shop.databases) is not None

    await eventually(ended)
    assert re.search("verify the customer waits 0 problems", (await pushing.get("/actions")).words)


# --- where tokens are demanded ---------------------------------------------------------------------------------------


async def test_where_tokens_are_demanded_only_admins_look_and_push(
    pushing: Browser, sink: Sink, configure: Callable[..., None]
) -> None:
    """What was done bears their name; Prometheus and the probe need none."""
    basket = ordered("Ann")
    await baskets().insert_one(basket)
    pushing.shop.anybody_may_push = False
    async with Issuer() as issuer:
        configure(auth=issuer.auth)
        for authorization, status in (("", 401), ("Bearer a.b.c", 401), (f"Bearer {token('Ann')}", 403)):
            seen = await pushing.get("/ask", authorization=authorization, basket=basket["_id"])
            assert seen.status == status
            assert "www-authenticate" in seen.headers
            assert "Ann" not in seen.words
            pushed = await pushing.push("/ask", {"basket": str(basket["_id"])}, authorization=authorization)
            assert pushed.status == status
        for path in ("/metrics", "/healthz"):
            assert (await pushing.get(path)).status == 200
        admin = f"Bearer {token('Olga', roles=['admin'])}"
        form = (await pushing.get("/ask", authorization=admin, basket=basket["_id"])).form | WHY
        assert (await pushing.push("/ask", form, authorization=admin)).status == 303
        await process.current().close()
    assert len(posted(sink)) == 1
    assert [each.who for each in actions.latest(pushing.shop.databases)] == ["Olga"]

"""What the pages show: hostile names stay text, lists go by an index, an account proves itself."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
from bson import Int64, ObjectId

from local.servers.mongodb import Mongod
from operate.baskets import LISTS, PAGE, of_trace, page
from operate.console.app import PAGES
from operate.console.shop import opened
from operate.errors import WrongUse
from operate.letters import Letter
from operate.metrics import CONTENT_TYPE
from shop.schema.events_pb2 import PaymentRequested
from shop.store.client import collection
from tests.operate.console.conftest import Browser, Handed
from tests.operate.stored import baskets, users
from wire.event import Event

HOSTILE = "<script>alert(1)</script>\"'&{{7*191}} Павел"
NOW = datetime.now(UTC).replace(microsecond=0)


def ordered(user: str = HOSTILE, number: int = 1, status: str = "ordered", **more: Any) -> dict[str, Any]:
    """Return a basket that was ordered 73 s ago."""
    kept = {"_id": ObjectId(), "user": user, "number": Int64(number), "status": status, "attempt": Int64(1)}
    now = datetime.now(UTC)
    at = {"ordered_at": now - timedelta(seconds=73)}
    due = {"resend_at": now + timedelta(seconds=47)} if status == "ordered" else {"decided_at": NOW}
    return {**kept, "sum": Int64(10), **at, **due, **more}


def letter(about: PaymentRequested | None = None, reason: str = "wrong_event: it was edited") -> Letter:
    """Return a dead letter of billing-handler."""
    attributes = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}
    attributes |= {"knativekafkapartition": "0", "knativekafkaoffset": "7"}
    return Letter(Event(attributes, b""), "billing-handler", True, "422", reason, about, 0, 0, "", NOW)


async def test_every_page_answers_with_headers_that_keep_others_out(browser: Browser) -> None:
    """Nothing runs or loads that is not ours, nothing frames it, nothing keeps it."""
    basket = ordered()
    await baskets().insert_one(basket)
    browser.shop.dead = [letter()]  # type: ignore[attr-defined]
    queries: dict[str, dict[str, object]] = {
        "/order": {"basket": basket["_id"]},
        "/ask": {"basket": basket["_id"]},
        "/customer": {"user": HOSTILE},
        "/letter": {"place": "0/7"},
        "/find": {"q": ""},
    }
    for path in PAGES:
        answer = await browser.get(path, **queries.get(path, {}))
        assert answer.status == 200, path
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        for tag, attributes in answer.tags:
            assert tag != "style"
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            for name in ("href", "src", "action"):
                assert (attributes.get(name) or "/").startswith(("/", "#")), (path, tag)


async def test_a_hostile_name_and_reason_stay_text(browser: Browser) -> None:
    """On every page that shows them."""
    declined = ordered(status="open", reason=HOSTILE)
    await baskets().insert_one(declined)
    browser.shop.dead = [letter(PaymentRequested(user=HOSTILE, basket=HOSTILE), HOSTILE)]  # type: ignore[attr-defined]
    for path, query in (
        ("/orders", {"show": "declined"}),
        ("/order", {"basket": declined["_id"]}),
        ("/customer", {"user": HOSTILE}),
        ("/letters", {"consumer": "billing-handler"}),
        ("/letter", {"place": "0/7"}),
        ("/redrive", {"consumer": "billing-handler"}),
        ("/orders", {"show": HOSTILE}),
        ("/order", {"basket": HOSTILE}),
    ):
        answer = await browser.get(path, **query)
        assert "<script>alert" not in answer.body, path
        assert "1337" not in answer.words.split(), path
    assert HOSTILE in (await browser.get("/orders", show="declined")).words


async def test_a_name_that_turns_text_around_or_hides_some_is_told_from_another(browser: Browser) -> None:
    """What cannot be seen is written as its number wherever a name is shown; addresses and forms have it as it is."""
    name = "Ann\u202e\u200b\u00a0Lee"
    await baskets().insert_one(ordered(name))
    for path, query in (("/orders", {"show": "undecided"}), ("/customer", {"user": name}), ("/verify", {"user": name})):
        answer = await browser.get(path, **query)
        assert name not in answer.words, path
        assert "Ann\\u202e\\u200b\\u00a0Lee" in answer.words, path
    assert answer.form["user"] == name
    page = await browser.get("/orders", show="undecided")
    assert "/customer?user=Ann%E2%80%AE%E2%80%8B%C2%A0Lee" in [attributes.get("href") for _, attributes in page.tags]


@pytest.mark.parametrize(
    ("sought", "at"),
    [
        ("66B1F0C2A5D3E4F601020304", "/order?basket=66b1f0c2a5d3e4f601020304"),
        ("66b1f0c2a5d3e4f601020304.2", "/order?basket=66b1f0c2a5d3e4f601020304"),
        (" Павел & Co ", "/customer?user=%D0%9F%D0%B0%D0%B2%D0%B5%D0%BB+%26+Co"),
    ],
)
async def test_whatever_somebody_knows_of_an_order_finds_it(browser: Browser, sought: str, at: str) -> None:
    """A basket, an event, a customer."""
    answer = await browser.get("/find", q=sought)
    assert (answer.status, answer.headers["location"]) == (303, at)


async def test_a_customer_may_be_called_like_a_basket(browser: Browser) -> None:
    """Who has an account or a basket is found, unless there is such a basket."""
    basket = ordered("66b1f0c2a5d3e4f601020304.1")
    await users().insert_one({"_id": "66b1f0c2a5d3e4f601020304", "balance": Int64(0)})
    await baskets().insert_one(basket)
    await users().insert_one({"_id": str(basket["_id"]), "balance": Int64(0)})
    for sought, at in (
        ("66b1f0c2a5d3e4f601020304", "/customer?user=66b1f0c2a5d3e4f601020304"),
        ("66b1f0c2a5d3e4f601020304.1", "/customer?user=66b1f0c2a5d3e4f601020304.1"),
        ("66b1f0c2a5d3e4f601020304.2", "/order?basket=66b1f0c2a5d3e4f601020304"),
        (str(basket["_id"]), f"/order?basket={basket['_id']}"),
    ):
        assert (await browser.get("/find", q=sought)).headers["location"] == at


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def traced(trace: str = TRACE, span: str = "00f067aa0ba902b7") -> str:
    """Return a traceparent as baskets have it."""
    return f"00-{trace}-{span}-01"


async def test_a_trace_finds_the_order_that_it_placed(browser: Browser) -> None:
    """By its id or as a whole, in the latest attempt or an earlier one; several are listed, and a name stays a name."""
    declined = {"attempt": Int64(1), "sum": Int64(10), "traceparent": traced()}
    first = ordered("Ann", declines=[declined], attempt=Int64(2), traceparent=traced("b" * 32))
    await baskets().insert_many([first, ordered("Ann", 2, traceparent=traced("c" * 32)), ordered("Ann", 3)])
    for sought in (TRACE, traced(), traced(TRACE.upper(), "a" * 16).upper(), f" {TRACE} ", "b" * 32):
        answer = await browser.get("/find", q=sought)
        assert (answer.status, answer.headers.get("location")) == (303, f"/order?basket={first['_id']}"), sought
    assert f"Trace {'b' * 32} of attempt 1 {TRACE} Story" in (await browser.get("/order", basket=first["_id"])).words
    again = ordered(HOSTILE, traceparent=traced(span="1" * 16))
    await baskets().insert_one(again)
    answer = await browser.get("/find", q=traced())
    assert answer.status == 200
    assert {str(first["_id"]), str(again["_id"])} <= set(answer.words.split())
    assert HOSTILE in answer.words
    assert "<script>alert" not in answer.body
    for nobodys in ("d" * 32, f"{TRACE}.*", f"00-{'.' * 32}-{'0' * 16}-01"):
        assert (await browser.get("/find", q=nobodys)).headers["location"].startswith("/customer?"), nobodys


async def test_a_trace_that_was_recorded_is_a_link_to_what_shows_traces(browser: Browser) -> None:
    """Where something shows them; of one that nobody recorded there is nothing to see."""
    declined = {"attempt": Int64(1), "sum": Int64(10), "traceparent": traced()[:-1] + "0"}
    basket = ordered("Ann", attempt=Int64(2), declines=[declined], traceparent=traced("b" * 32))
    await baskets().insert_one(basket)

    async def links() -> list[str]:
        page = await browser.get("/order", basket=basket["_id"])
        assert f"Trace {'b' * 32} of attempt 1 {TRACE}" in page.words
        found = [str(attributes.get("href")) for tag, attributes in page.tags if tag == "a"]
        return [address for address in found if not address.startswith(("/", "#"))]

    assert await links() == []
    browser.shop.trace_url = "http://zipkin:9411/zipkin/traces/{trace}"
    assert await links() == [f"http://zipkin:9411/zipkin/traces/{'b' * 32}"]


def test_a_trace_is_linked_to_nothing_that_is_no_address() -> None:
    """A setting with a script in it ends the console's first page with its name."""
    environment = {"MONGODB_URI": "mongodb://127.0.0.1:1"}
    with opened({**environment, "TRACE_URL": "https://zipkin/{trace}"}).databases:
        pass
    with pytest.raises(WrongUse, match="TRACE_URL"):
        opened({**environment, "TRACE_URL": "javascript:alert('{trace}')"})


async def test_an_order_is_explained_with_its_story_and_its_gaps(browser: Browser) -> None:
    """The sentence, when it was ordered, and that nothing has happened since."""
    basket = ordered("Ann", _id=ObjectId.from_datetime(NOW - timedelta(hours=1)))
    await baskets().insert_one(basket)
    answer = await browser.get("/order", basket=basket["_id"])
    assert "Ordered 7" in answer.words
    assert "billing-handler has not decided" in answer.words
    assert "resend_orders asks again in 4" in answer.words
    assert "attempt 1 ordered, sum 10" in answer.words
    assert "in which nothing happened, until now" in answer.words
    assert "x-settled" not in answer.headers
    live = await browser.get("/order", basket=basket["_id"], live=1)
    assert "<html" not in live.body
    assert "Ordered 7" in live.words


async def test_what_is_settled_asks_for_nothing_more(browser: Browser) -> None:
    """Neither does what was never ordered, or what is not there."""
    paid = ordered("Ann", status="paid")
    await baskets().insert_one(paid)
    assert "data-refresh" in (await browser.get("/order", basket=paid["_id"])).body  # nobody was told yet
    told = {"user": "Ann", "basket": paid["_id"], "attempt": Int64(1), "sum": Int64(10), "outcome": "paid"}
    told |= {"reason": "", "decided_at": NOW, "recorded_at": NOW}
    await collection("notify", "notifications").insert_one({"_id": f"{paid['_id']}.1", **told})
    answer = await browser.get("/order", basket=paid["_id"])
    assert answer.headers["x-settled"] == "true"
    assert "data-refresh" not in answer.body
    assert (await browser.get("/order", basket=ObjectId())).status == 404


async def test_lists_are_read_page_by_page_and_lose_nothing(browser: Browser) -> None:
    """Even when all were ordered in the same millisecond."""
    await baskets().insert_many([ordered("Ann", n, "paid", ordered_at=NOW) for n in range(1, 2 * PAGE + 4)])
    seen: list[ObjectId] = []
    after = ""
    for _ in range(3):
        found = page(browser.shop.databases, "paid", after)
        seen += [each["_id"] for each in found.baskets]
        after = found.after
    assert after == ""
    assert len(seen) == len(set(seen)) == 2 * PAGE + 3
    assert seen == sorted(seen, reverse=True)
    assert len(page(browser.shop.databases, "paid", "garbage").baskets) == PAGE


@contextmanager
def profiled(mongod: Mongod) -> Iterator[list[dict[str, Any]]]:
    """Give what MongoDB did with the baskets meanwhile; it is there at the end."""
    seen: list[dict[str, Any]] = []
    with pymongo.MongoClient[dict[str, Any]](mongod.uri) as client:
        orders = client["orders"]
        orders.command("profile", 2)
        try:
            yield seen
        finally:
            orders.command("profile", 0)
        fields = {"planSummary": 1, "docsExamined": 1, "keysExamined": 1, "hasSortStage": 1}
        seen += orders["system.profile"].find({"ns": "orders.baskets"}, fields)
        orders["system.profile"].drop()


async def test_every_list_goes_by_an_index_alone(browser: Browser, mongod: Mongod) -> None:
    """First page or later, no list reads more than it shows."""
    statuses = ("open", "ordered", "paid")
    times = [NOW - timedelta(seconds=100 + n) for n in range(400)]
    await baskets().insert_many([ordered("Ann", n, statuses[n % 3], ordered_at=times[n]) for n in range(1, 400)])
    with profiled(mongod) as seen:
        for which in LISTS:
            page(browser.shop.databases, which, page(browser.shop.databases, which).after)
    assert len(seen) == 2 * len(LISTS)
    for each in seen:
        assert each["planSummary"].startswith("IXSCAN { status: 1, ordered_at: 1, _id: 1 }")
        assert each["docsExamined"] <= PAGE + 2
        assert not each.get("hasSortStage")


async def test_a_trace_is_found_by_indexes_alone(browser: Browser, mongod: Mongod) -> None:
    """Of the latest attempts and of those before; what has no trace is in neither."""
    for n in range(1, 200):
        declined = {"attempt": Int64(1), "sum": Int64(10), "traceparent": traced(f"d{n:031x}")}
        more = {"traceparent": traced(f"{n:032x}"), "declines": [declined] * 3} if n % 2 else {}
        await baskets().insert_one(ordered("Ann", n, **more))
    with profiled(mongod) as seen:
        for trace, found in ((f"{7:032x}", 1), (f"d{7:031x}", 1), (f"{8:032x}", 0)):
            assert len(of_trace(browser.shop.databases, trace)) == found
    assert len(seen) == 3
    for each in seen:
        assert each["planSummary"] == "IXSCAN { traceparent: 1 }, IXSCAN { declines.traceparent: 1 }"
        assert each["docsExamined"] <= 1
        assert each["keysExamined"] <= 6


async def test_an_account_shows_the_sum_that_proves_it(browser: Browser) -> None:
    """And what is wrong with one that does not add up."""
    now = datetime.now(UTC)  # what was paid a minute ago must have been notified
    entry = {"number": Int64(1), "basket": ObjectId(), "attempt": Int64(1), "sum": Int64(10), "paid_at": now}
    deposit = {"key": "k", "sum": Int64(100), "at": now}
    await users().insert_one({"_id": "Ann", "balance": Int64(90), "paid_baskets": [entry], "deposits": [deposit]})
    paid = ordered("Ann", status="paid", decided_at=now)
    await baskets().insert_one({**paid, "_id": entry["basket"]})
    words = (await browser.get("/customer", user="Ann")).words
    assert "100 deposited − 10 paid = 90; the balance is 90, as it must be." in words
    assert "No: every paid basket has one charge" in words
    await users().update_one({"_id": "Ann"}, {"$inc": {"balance": Int64(-5)}})
    words = (await browser.get("/customer", user="Ann")).words
    assert "the balance is 85, which is wrong." in words
    assert "balance 85, but 100 deposited - 10 paid" in words
    assert (await browser.get("/customer", user="nobody")).status == 404


async def test_dead_letters_are_grouped_by_cause_and_function(browser: Browser) -> None:
    """Counted, with what can be done; one of them with its reason."""
    browser.shop.dead = [letter(reason="other_terms: ordered for 5"), letter(), letter()]  # type: ignore[attr-defined]
    words = (await browser.get("/letters")).words
    assert "billing-handler 422 wrong_event it was edited 2 waiting" in words
    assert "billing-handler 422 other_terms ordered for … 1 waiting" in words
    assert (
        "billing-handler refused it with 422: wrong_event: it was edited"
        in (await browser.get("/letter", place="0/7")).words
    )
    assert (await browser.get("/letter", place="9/9")).status == 404


async def test_metrics_are_there_for_prometheus(browser: Browser) -> None:
    """In its own format."""
    answer = await browser.get("/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, CONTENT_TYPE)
    assert "shop_orders_undecided 0" in answer.body.splitlines()
    assert (await browser.get("/healthz")).body == "ok\n"


@pytest.mark.parametrize("path", ["/nope", "/static/nope.js", "/static/../app.py", "/order?basket=nope"])
async def test_what_is_not_there_is_404(browser: Browser, path: str) -> None:
    """As a page, and no file but ours is served."""
    assert (await browser.get(path)).status == 404


async def test_an_address_with_too_much_in_it_is_refused(browser: Browser) -> None:
    """It is no bug of ours."""
    answer = await browser.get("/orders", **{f"q{number}": number for number in range(100)})
    assert (answer.status, "no page has so many fields" in answer.words.lower()) == (400, True)


async def test_without_mongodb_a_page_says_so(shop_opened: Callable[..., Handed]) -> None:
    """And the health page shows it as the cause."""
    from operate import places
    from operate.running import RunningShop

    running = RunningShop(places.find({"MONGODB_URI": "mongodb://127.0.0.1:1"}), selection_timeout_ms=100)
    with running.databases() as databases:
        away = Browser(Handed(running, databases, None))
        assert (await away.get("/orders")).status == 503
        live = await away.get("/order", basket=ObjectId(), live=1)
        assert (live.status, "x-settled" in live.headers) == (503, False), "the page goes on asking"
        answer = await away.get("/health")
        assert (answer.status, "mongodb_away" in answer.words) == (200, True)
        assert (await away.get("/")).status == 200
        assert (await away.get("/healthz")).status == 200


def test_no_function_of_the_shop_imports_templates_or_a_kafka_client() -> None:
    """What the console needs costs no other function a cold start."""
    import subprocess

    from tests.support.functions import folders

    code = "import importlib, sys\n" + "".join(f"importlib.import_module('functions.{n}.main')\n" for n in folders())
    code += "print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = done.stdout.split()
    assert not [name for name in loaded if name.partition(".")[0] in ("confluent_kafka", "operate", "rich", "typer")]
    assert importlib.import_module("functions.console.main").console.__name__ == "console"

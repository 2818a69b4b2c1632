"""`orders event`: what is recorded is what was sent, and what is sent again is what was recorded."""

import time
from pathlib import Path

from bson import ObjectId

from local.stack import Stack
from operate.payments import payment
from shop.schema.events_pb2 import PaymentRequested
from tests.operate.command import Orders, lines, write
from tests.operate.conftest import Customer
from wire.recording import Recording


async def test_a_recorded_event_is_the_one_that_was_sent(
    orders: Orders, customer: Customer, file: Path, stack: Stack
) -> None:
    """One structured CloudEvent per line: attributes, data byte for byte, and where it was in Kafka."""
    await customer.deposit(100)
    basket = await customer.order(10)
    run = await orders("event", "record", "--topic", "payments", "-o", file)
    assert run.code == 0
    (line,) = (each for each in lines(file) if each.get("subject") == basket)
    assert line["id"] == f"{basket}.1"
    assert line["type"] == "shop.events.v1.PaymentRequested"
    assert line["kafkakey"] == line["partitionkey"]
    assert line["kafkatopic"] == "payments"
    assert line["knativekafkapartition"].isdecimal()
    assert line["knativekafkaoffset"].isdecimal()
    (event,) = (each for each in Recording(file) if each.text("subject") == basket)
    about = payment(event)
    assert isinstance(about, PaymentRequested)
    assert (about.user, about.basket, about.sum) == (customer.user, basket, 10)
    assert event.data == about.SerializeToString(deterministic=True)


async def test_record_reads_several_topics_up_to_a_limit_and_an_age(
    orders: Orders, customer: Customer, file: Path
) -> None:
    """Topics, --limit and --since choose what is written."""
    await customer.deposit(100)
    await customer.order(10)
    run = await orders("event", "record", "--topic", "payments", "--topic", "results", "-o", file, "--json")
    assert run.json["recorded"]["payments"] >= 1
    assert run.json["recorded"]["results"] >= 1
    run = await orders("event", "record", "--topic", "payments", "--limit", 1)
    assert len(run.out.splitlines()) == 1
    run = await orders("event", "record", "--topic", "payments", "--since", "0s", "-o", file, "--json")
    assert run.json["recorded"] == {"payments": 0}


async def test_a_topic_that_is_misspelt_is_named_and_a_former_recording_survives(
    orders: Orders, customer: Customer, file: Path
) -> None:
    """Exit code 2, with the topics that there are: the file was emptied before it was known that it could be read."""
    await customer.deposit(100)
    await customer.order(10)
    await orders("event", "record", "--topic", "payments", "-o", file)
    former = lines(file)
    run = await orders("event", "record", "--topic", "paiments", "-o", file)
    assert run.code == 2
    assert "Kafka has no topic 'paiments'; it has dead-letters, payments, results" in run.err
    assert lines(file) == former != []


async def test_events_sent_again_change_nothing(orders: Orders, customer: Customer, file: Path) -> None:
    """The same ids again: three more deliveries, one charge."""
    await customer.deposit(100)
    baskets = {await customer.order(10), await customer.order(20)}
    await orders("event", "record", "--topic", "payments", "-o", file)
    write(file, *(line for line in lines(file) if line.get("subject") in baskets))
    run = await orders("event", "send", file, "--to", "billing-handler", "--times", 3, "--json")
    assert run.code == 0
    assert run.json["answers"] == {"answered 200": 6}
    assert (await customer.call("GET", "/GetUser"))["balance"] == 70


async def test_a_new_event_is_another_effect(orders: Orders, customer: Customer, file: Path) -> None:
    """With --new the same content is charged anew, for another basket."""
    await customer.deposit(100)
    basket = await customer.order(10)
    await orders("event", "record", "--topic", "payments", "-o", file)
    write(file, *(line for line in lines(file) if line.get("subject") == basket))
    run = await orders("event", "send", file, "--to", "billing-handler", "--new")
    assert run.code == 0
    assert "1 new events" in run.out
    account = await customer.call("GET", "/GetUser")
    assert account["balance"] == 80
    assert account["paid_baskets"][0]["basket"] != basket


async def test_an_event_that_is_refused_fails_the_command_with_the_reason(
    orders: Orders, customer: Customer, file: Path
) -> None:
    """Exit code 1, and what the function said."""
    await customer.deposit(100)
    await customer.order(10)
    await orders("event", "record", "--topic", "payments", "--limit", 1, "-o", file)
    run = await orders("event", "send", file, "--to", "order-handler")
    assert run.code == 1
    assert "answered 422" in run.out
    assert "this function takes shop.events.v1.PaymentDecided" in run.out


async def test_where_to_must_be_said_and_be_there(orders: Orders, file: Path) -> None:
    """Exit code 2 for no destination, two, an unknown one, one where nobody is, and for no events."""
    write(file, {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"})
    for arguments, why in [
        ([], "exactly one of --to and --to-url"),
        (["--to", "billing-handler", "--to-url", "http://127.0.0.1:1"], "exactly one of --to and --to-url"),
        (["--to", "get-user"], "use one of billing-handler"),
        (["--to-url", "http://127.0.0.1:1"], "nobody answers at http://127.0.0.1:1"),
    ]:
        run = await orders("event", "send", file, *arguments)
        assert run.code == 2
        assert why in run.err
    write(file)
    run = await orders("event", "send", file, "--to", "billing-handler")
    assert (run.code, "has no events" in run.err) == (2, True)


async def test_a_line_that_is_no_event_is_named(orders: Orders, file: Path) -> None:
    """Exit code 2, with its number."""
    write(file, {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}, {})
    run = await orders("event", "send", file, "--to", "billing-handler")
    assert run.code == 2
    assert "event 2: specversion None" in run.err


async def test_show_tells_the_story_of_a_basket(orders: Orders, customer: Customer) -> None:
    """Orders, decisions, settlements and notifications of both attempts, in the order of time."""
    await customer.deposit(5)
    basket = await customer.order(10)
    await customer.deposit(5)
    assert await customer.order(10) == basket
    run = await orders("event", "show", basket)
    assert run.code == 0
    story = [
        f"basket 1 of {customer.user} made",
        "PaymentRequested attempt 1, sum 10",
        "PaymentDecided attempt 1, sum 10: declined (insufficient funds)",
        "attempt 1 notified: declined (insufficient funds), sum 10",
        "attempt 2 ordered, sum 10",
        "attempt 2 charged, sum 10",
        "attempt 2 settled: paid",
        "attempt 2 notified: paid, sum 10",
    ]
    for line in story:
        assert line in run.out
    told = [each["what"] for each in (await orders("event", "show", basket, "--json")).json]
    assert [told.index(line) for line in story[:4]] == sorted(told.index(line) for line in story[:4])


async def test_show_knows_nothing_of_a_basket_that_is_not_there(orders: Orders) -> None:
    """Exit code 1; 2 for what is no basket id."""
    assert (await orders("event", "show", ObjectId())).code == 1
    assert (await orders("event", "show", "66b1")).code == 2


async def test_a_rate_is_kept(orders: Orders, customer: Customer, file: Path) -> None:
    """Six events at twenty a second take a quarter of one at least, however many may be in flight."""
    await customer.deposit(100)
    basket = await customer.order(10)
    await orders("event", "record", "--topic", "payments", "-o", file)
    write(file, *(line for line in lines(file) if line.get("subject") == basket))
    begun = time.monotonic()
    run = await orders("event", "send", file, "--to", "billing-handler", "--times", 6, "--rate", 20)
    assert run.code == 0
    assert time.monotonic() - begun >= 0.25

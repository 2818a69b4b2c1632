"""`orders replay` against a stack: the state is compared once what the replay set in motion has come to rest."""

from pathlib import Path

from local.stack import KAFKA_SOURCE, Stack
from tests.operate.command import Orders, lines, write
from tests.operate.conftest import Customer


async def test_a_replay_to_billing_changes_nothing_down_the_line(
    orders: Orders, customer: Customer, file: Path
) -> None:
    """Its decisions travel to the other two consumers again; they are waited for, and change nothing either."""
    await customer.deposit(100)
    baskets = {await customer.order(10), await customer.order(1000)}
    await orders("event", "record", "--topic", "payments", "-o", file)
    write(file, *(line for line in lines(file) if line.get("subject") in baskets))
    run = await orders("replay", file, "--to", "billing-handler", "--twice", "--shuffle", "--expect-noop", "--json")
    assert run.code == 0
    assert (run.json["deliveries"], run.json["changed_nothing"], run.json["documents"]) == (4, 4, 5)


async def test_a_replay_does_not_begin_while_consumers_are_behind(
    orders: Orders, customer: Customer, file: Path, stack: Stack
) -> None:
    """What they take meanwhile would look like the replay's doing: exit code 2, and nothing delivered."""
    await customer.deposit(100)
    await customer.order(10)
    await stack.stop_part(KAFKA_SOURCE)
    try:
        basket = await customer.call("GET", "/GetBasket")
        await customer.call("POST", "/Order", sum=5, basket=basket["basket"])
        await orders("event", "record", "--topic", "payments", "-o", file)
        run = await orders("replay", file, "--to", "billing-handler", "--wait", "1s", "--expect-noop")
    finally:
        await stack.start_part(KAFKA_SOURCE)
    assert run.code == 2
    assert "events behind" in run.err

"""Days of chance, a restore of chance: what the functions still promise, and that verify lists whoever is concerned.

Held to a check of its own, written apart from the command's.
"""

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

from proof.faults import audit
from proof.restores.test_restores import world as world
from proof.restores.world import Backup, World
from shop.setup import restored, setup
from shop.store.client import collection
from tests.functions.conftest import client as client
from tests.functions.conftest import sink as sink
from tests.support.asgi import call

SEEDS = range(int(os.environ.get("RESTORE_SEEDS", "1")))
USERS = ("Ann", "Павел")
SERVICES = ("orders", "billing", "notify")


class Databases:
    """The databases of the functions, as the audit of proof/faults reads them."""

    def collection(self, name: str) -> Any:
        """Return a collection by its full name."""
        service, _, own = name.partition(".")
        return collection(service, own)


async def act(world: World, chance: random.Random, times: int) -> None:
    """Pay in, order, and let some of the events come late; as clients do that take what GetBasket says."""
    for _ in range(times):
        user = chance.choice(USERS)
        match chance.choice(["deposit", "order", "order", "order", "deliver", "lose"]):
            case "deposit":
                await world.deposit(chance.choice([10, 100]), f"{chance.random()}", user=user)
            case "order":
                basket = (await world.client.get("/GetBasket", {"user": user})).json
                sum_ = chance.choice([10, 10, 20, 5000])
                order = {"user": user, "sum": sum_, "basket": basket["basket"], "attempt": basket["attempt"]}
                answer = await world.client.post("/Order", order)
                assert answer.status in (200, 422), answer.text
                if chance.random() < 0.7:
                    await world.deliver()
            case "deliver":
                await world.deliver()
            case "lose":
                world.emitted += world.client.sink.received
                world.client.sink.received.clear()


async def settle_all(world: World) -> None:
    """Resend whatever is ordered, and deliver everything, until nothing changes any more."""
    for _ in range(2):
        await collection("orders", "baskets").update_many(
            {"status": "ordered"}, [{"$set": {"resend_at": {"$subtract": ["$$NOW", 1000]}}}]
        )
        assert (await call("resend_orders")).status == 200
        await world.deliver()


async def restore(world: World, backup: Backup, services: Sequence[str]) -> None:
    """Restore some of the databases under new names, and begin the epoch."""
    world.emitted += world.client.sink.received
    world.client.sink.received.clear()
    names = {service: f"{service}_2" for service in services}
    await world.restore(backup, services, names)
    world.start_functions(names)
    await restored()
    await setup()


async def contradictions(user: str) -> list[str]:
    """Return where the three databases contradict one another about a user, as this file sees it."""
    state = await audit._State.read(Databases(), user)  # type: ignore[arg-type]
    found = list(audit._of(state))
    declined = state.account.get("declined", {})
    paid = {entry["basket"] for entry in state.paid}
    for basket in state.baskets:
        told = (declined.get("basket"), declined.get("attempt"), declined.get("sum"))
        if (
            basket["status"] == "open"
            and basket["attempt"]
            and told != (basket["_id"], basket["attempt"], basket["sum"])
        ):
            found.append(f"{basket['_id']} is open at attempt {basket['attempt']}, and billing has not declined it")
        is_declined = declined.get("basket") == basket["_id"] and basket["_id"] not in paid
        if is_declined and declined["attempt"] > basket["attempt"]:
            found.append(f"{basket['_id']} was declined at a later attempt")
    if declined and declined["basket"] not in {basket["_id"] for basket in state.baskets}:
        found.append("orders does not have what was declined")
    return found


async def check_promises() -> None:
    """No basket is charged twice, and no attempt that orders has as declined or has not ordered."""
    for user in USERS:
        state = await audit._State.read(Databases(), user)  # type: ignore[arg-type]
        charged = [entry["basket"] for entry in state.paid]
        assert len(charged) == len(set(charged))
        deposits = sum(entry["sum"] for entry in state.deposits)
        assert state.account["balance"] == deposits - sum(entry["sum"] for entry in state.paid)
        baskets = {basket["_id"]: basket for basket in state.baskets}
        for entry in state.paid:
            if entry.get("epoch"):  # charged since the restore
                basket = baskets[entry["basket"]]
                assert (basket["attempt"], basket["sum"]) == (entry["attempt"], entry["sum"])
                assert basket["status"] in ("ordered", "paid")


@pytest.mark.parametrize("services", [SERVICES, *((service,) for service in SERVICES)], ids="-".join)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_restore_of_chance_keeps_the_promises_and_verify_lists_who_is_concerned(
    world: World, seed: int, services: tuple[str, ...]
) -> None:
    """RESTORE_SEEDS tries more than a few."""
    chance = random.Random(seed)
    for user in USERS:
        await world.client.user(user, 60)
    await act(world, chance, 25)
    backup = await world.backup()
    await act(world, chance, 20)
    await restore(world, backup, services)

    before = await world.databases()
    assert {answer.status for answer in await world.bring_the_lost_time()} <= {422}
    assert await world.databases() == before
    await settle_all(world)
    await check_promises()
    await act(world, chance, 15)
    await settle_all(world)
    await check_promises()

    listed = {user for user, _ in await world.kinds()}
    concerned = {user: found for user in USERS if (found := await contradictions(user))}
    assert listed == set(concerned), (await world.kinds(), concerned)
    if len(services) == len(SERVICES):
        assert not listed

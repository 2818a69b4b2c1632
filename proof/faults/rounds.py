"""One round: customers order, something breaks and runs again, customers order on; then everything must be right."""

import time
from dataclasses import dataclass

from proof.faults.audit import anomalies
from proof.faults.injections import Injection
from proof.faults.load import Ledger, Load
from proof.faults.system import System
from proof.faults.topics import PAYMENTS, RESULTS

_BEFORE = _AFTER = 10  # orders that customers see settled before anything breaks, and once all runs again


@dataclass(frozen=True)
class Round:
    """What came of one round."""

    accepted: int
    paid: int
    declined: int
    unanswered: int
    """Requests that were answered 5xx or not at all, and sent again."""
    seconds: float
    anomalies: list[str]
    ledgers: list[Ledger]


async def play(system: System, inject: Injection, seed: int = 0) -> Round:
    """Play a round and audit it; customers of earlier rounds have no part in it."""
    begun = time.monotonic()
    async with Load(system.shop, seed) as load:
        try:
            await load.sees_settled(_BEFORE)
            await inject(system)
            await system.stack.wait_ready()
            await load.sees_settled(_AFTER)
        except TimeoutError as error:
            seen = {topic: len(system.topics.records(topic)) for topic in (PAYMENTS, RESULTS)}
            error.add_note(f"told {dict(load.outcomes)}, {load.unanswered} unanswered, records {seen}")
            raise
    await system.all_settled([ledger.user for ledger in load.ledgers])
    return Round(
        accepted=load.outcomes.total(),
        paid=load.outcomes["paid"],
        declined=load.outcomes["declined"],
        unanswered=load.unanswered,
        seconds=time.monotonic() - begun,
        anomalies=await anomalies(system, load.ledgers),
        ledgers=load.ledgers,
    )

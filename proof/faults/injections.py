"""What goes wrong, by name: each injection breaks something under load, and returns when it runs again."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from signal import SIGKILL, SIGTERM

from local.stack import ENVOY, KAFKA, KAFKA_SINK, KAFKA_SOURCE, MONGOD
from proof.faults.replica_set import ReplicaSet
from proof.faults.system import CONSUMERS, System
from proof.faults.topics import PAYMENTS
from proof.faults.waiting import eventually
from tests.support import functions

Injection = Callable[[System], Awaitable[None]]

_OVERDUE = 5  # requests for payment that a delay of the source lets gather
_REPLACED_S = 2  # longer than a function goes without a look at its token
_STALL_S = 6  # longer than a function waits for MongoDB

FUNCTIONS = tuple(function.deployed for function in functions.FUNCTIONS.values())


def killed(*parts: str) -> Injection:
    """End parts with SIGKILL, one after the other; each is started again by itself."""

    async def inject(system: System) -> None:
        for part in parts:
            await system.restart(part)

    return inject


def terminated(*parts: str) -> Injection:
    """End parts with SIGTERM, one after the other, and start each again."""

    async def inject(system: System) -> None:
        for part in parts:
            await system.stack.stop_part(part)
            await system.stack.start_part(part)

    return inject


async def reset_groups(system: System) -> None:
    """Set all consumer groups back to the beginning: both topics are delivered once more, whole."""
    await system.stack.stop_part(KAFKA_SOURCE)
    for group in CONSUMERS:
        await asyncio.to_thread(system.topics.rewind, group)
    await system.stack.start_part(KAFKA_SOURCE)


async def expire_payments(system: System) -> None:
    """Have Kafka's retention pass: requests are deleted before anybody consumed them."""
    with system.frozen(KAFKA_SOURCE):
        gathered = len(system.topics.records(PAYMENTS)) + _OVERDUE

        async def overdue() -> bool:
            return len(system.topics.records(PAYMENTS)) >= gathered

        await eventually(overdue)
        await system.stack.kill(KAFKA_SOURCE)  # with what it has fetched
        await asyncio.to_thread(system.topics.expire, PAYMENTS)
    await system.stack.wait_ready(KAFKA_SOURCE)


async def expire_token(system: System) -> None:
    """Have the tokens of functions expire, and be replaced only some seconds later: until then no event gets out."""
    system.mount("first")
    system.demand("first", "second")
    await asyncio.sleep(_REPLACED_S)  # until each function has it
    system.demand("second")
    await asyncio.sleep(_STALL_S)
    system.mount("second")
    await asyncio.sleep(_REPLACED_S)
    system.demand()


async def step_down(system: System) -> None:
    """Have the primary of MongoDB step down."""
    await _members(system).step_down()


async def freeze_primary(system: System) -> None:
    """Freeze the primary (SIGSTOP) until another one is elected, then let it go on."""
    await _members(system).replace_frozen_primary()


async def stall_replication(system: System) -> None:
    """Have no write reach a majority, for longer than functions wait."""
    async with _members(system).stalled():
        await asyncio.sleep(_STALL_S)


async def kill_primary(system: System) -> None:
    """End the primary with SIGKILL, and start it again."""
    await (await _members(system).primary()).restart(SIGKILL)


async def kill_all_members(system: System) -> None:
    """End all three members with SIGKILL at once, and start them again."""
    await asyncio.gather(*(member.restart(SIGKILL) for member in _members(system).members))
    await _members(system).primary()


async def terminate_primary(system: System) -> None:
    """End the primary with SIGTERM, and start it again."""
    await (await _members(system).primary()).restart(SIGTERM)


def _members(system: System) -> ReplicaSet:
    assert system.replica_set is not None
    return system.replica_set


# On the stack's own mongod, in every run of the tests.
SHORT: Mapping[str, Injection] = {
    "each-function-killed": killed(*FUNCTIONS),
    "source-and-sink-killed": killed(KAFKA_SOURCE, KAFKA_SINK),
    "mongod-killed": killed(MONGOD),
    # What it had acknowledged and not committed comes again; SIGTERM commits nothing.
    "dispatcher-rolled-out": terminated(KAFKA_SOURCE, KAFKA_SOURCE),
    "retention-passed": expire_payments,
}

LONG: Mapping[str, Injection] = {
    "each-function-terminated": terminated(*FUNCTIONS),
    "sink-terminated": terminated(KAFKA_SINK),
    "kafka-killed": killed(KAFKA),
    "kafka-terminated": terminated(KAFKA),
    "mongod-terminated": terminated(MONGOD),
    "ingress-killed": killed(ENVOY),
    "groups-reset-to-earliest": reset_groups,
    "sink-token-expired": expire_token,
}

ON_A_REPLICA_SET: Mapping[str, Injection] = {
    "primary-steps-down": step_down,
    "primary-frozen-until-replaced": freeze_primary,
    "primary-killed": kill_primary,
    "primary-terminated": terminate_primary,
    "all-members-killed": kill_all_members,
    "replication-stalled": stall_replication,
}

# What `make faults` goes through: on a replica set, and each function on its own.
ALL: Mapping[str, Injection] = {
    **{f"{name}-killed": killed(name) for name in FUNCTIONS},
    **{f"{name}-terminated": terminated(name) for name in FUNCTIONS},
    **{f"{part}-killed": killed(part) for part in (KAFKA_SOURCE, KAFKA_SINK, KAFKA, ENVOY)},
    **{f"{part}-terminated": terminated(part) for part in (KAFKA_SINK, KAFKA)},
    **{name: SHORT[name] for name in ("dispatcher-rolled-out", "retention-passed")},
    "groups-reset-to-earliest": reset_groups,
    "sink-token-expired": expire_token,
    **ON_A_REPLICA_SET,
}

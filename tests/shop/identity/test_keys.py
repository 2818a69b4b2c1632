"""The keys of an issuer: asked for seldom and once for all, never waited for long, and never made up."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shop.errors import Code, Unavailable
from shop.identity import keys
from shop.identity.keys import Keys
from shop.process import process
from shop.process.process import Process
from shop.process.settings import Auth, Settings
from shop.process.tls import trusted
from tests.support.issuer import HANG, Issuer, public
from tests.support.sink import certificate, serving


@dataclass
class Clock:
    """Moves on when it is told to, and by itself."""

    moved_s: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return time.monotonic() + self.moved_s


@pytest.fixture
def clock() -> Clock:
    """Return the clock that the keys go by."""
    return Clock()


@pytest.fixture
async def issuer(configure: Callable[..., None]) -> AsyncIterator[Issuer]:
    """Run an issuer, and this code in a process that trusts it."""
    async with Issuer() as running:
        configure(auth=running.auth)
        yield running


@pytest.fixture
async def held(issuer: Issuer, clock: Clock) -> AsyncIterator[Keys]:
    """Return what holds the issuer's keys; none is fetched yet."""
    holding = Keys(clock)
    yield holding
    await holding.close()


async def refused(held: Keys, name: str = "rsa") -> None:
    """Look for a key, and be told that it is unknown whether there is one."""
    with pytest.raises(Unavailable) as error:
        await held.find(name, "RS256")
    assert error.value.code is Code.KEYS_UNAVAILABLE


async def until(happened: Callable[[], object]) -> None:
    """Wait for what a fetch in the background brings."""
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_everybody_who_waits_waits_for_one_fetch(issuer: Issuer, held: Keys) -> None:
    """A process that starts under load asks once."""
    issuer.slow_s = 0.05
    found = await asyncio.gather(*(held.find("rsa", "RS256") for _ in range(50)))
    assert None not in found
    assert issuer.asked == 1


async def test_who_gives_up_takes_the_fetch_from_nobody(issuer: Issuer, held: Keys) -> None:
    """A client that hangs up is one of many that wait."""
    issuer.slow_s = 0.05
    first, second = (asyncio.create_task(held.find("rsa", "RS256")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None
    assert issuer.asked == 1


async def test_a_flood_of_key_ids_made_up_is_not_passed_on(issuer: Issuer, held: Keys, clock: Clock) -> None:
    """The issuer is asked once in ASK_AGAIN_S, and a known key never waits for that."""
    for number in range(100):
        assert await held.find(f"made-up-{number}", "RS256") is None
    assert issuer.asked == 1
    clock.moved_s += keys.ASK_AGAIN_S
    await asyncio.gather(*(held.find(f"made-up-{number}", "RS256") for number in range(100)))
    assert issuer.asked == 2


async def test_a_new_key_is_found_as_soon_as_the_issuer_may_be_asked(issuer: Issuer, held: Keys, clock: Clock) -> None:
    """Rotation: the first token with the new key brings it."""
    issuer.published = ["rsa"]
    assert await held.find("rsa", "RS256") is not None
    issuer.published = ["rsa", "rsa-2"]
    clock.moved_s += keys.ASK_AGAIN_S
    assert await held.find("rsa-2", "RS256") is not None


async def test_a_key_that_was_withdrawn_counts_for_minutes_only(issuer: Issuer, held: Keys, clock: Clock) -> None:
    """The keys are fetched again though all that come are known; nobody waits for that."""
    assert await held.find("rsa", "RS256") is not None
    issuer.published, issuer.slow_s = ["ec-2"], 0.05
    clock.moved_s += keys.FRESH_S + 1
    assert await held.find("rsa", "RS256") is not None
    await until(lambda: issuer.asked == 2)
    assert await held.find("ec-2", "ES256") is not None  # waits for that fetch
    assert await held.find("rsa", "RS256") is None
    assert issuer.asked == 2


async def test_an_outage_stops_nobody_whose_key_is_known_for_an_hour(issuer: Issuer, held: Keys, clock: Clock) -> None:
    """Then it stops everybody: a key that was withdrawn meanwhile must not count for ever."""
    assert await held.find("rsa", "RS256") is not None
    issuer.status = 503
    clock.moved_s += keys.FRESH_S + 1
    assert await held.find("rsa", "RS256") is not None
    await refused(held, "made-up")  # waits for the fetch that began with it
    assert await held.find("rsa", "RS256") is not None
    clock.moved_s += keys.KEPT_S
    await refused(held)
    issuer.status = 200
    clock.moved_s += keys.RETRY_S
    assert await held.find("rsa", "RS256") is not None


async def test_a_key_server_that_hangs_is_given_up(issuer: Issuer, held: Keys) -> None:
    """All who wait are answered within FETCH_S, and whoever comes in the second after it at once."""
    issuer.body = HANG
    started = time.monotonic()
    with process.running(Process(Settings(auth=issuer.auth), patience=0.1)):
        await asyncio.gather(*(refused(held) for _ in range(20)))
        await refused(held)
    assert time.monotonic() - started < keys.FETCH_S
    assert issuer.asked == 1


async def test_a_key_server_that_is_away_is_asked_again_a_little_later(
    issuer: Issuer, held: Keys, clock: Clock
) -> None:
    """Not for each request: it may be away because of them."""
    issuer.status = 500
    for _ in range(20):
        await refused(held)
    asked = issuer.asked
    assert asked <= 3
    issuer.status = 200
    clock.moved_s += keys.RETRY_S
    assert await held.find("rsa", "RS256") is not None
    assert issuer.asked == asked + 1


WRONG: dict[str, str] = {
    "no JSON": "<html>",
    "cut": '{"keys": [',
    "a list": "[]",
    "no keys": "{}",
    "keys that are none": '{"keys": {"kid": "rsa"}}',
    "an empty set": '{"keys": []}',
    "too deep": "[" * 100_000,
    "too large": json.dumps({"keys": [public("rsa")]}) + " " * keys.MAX_BYTES,
    "no usable key": json.dumps(
        {
            "keys": [
                7,
                {"kty": "oct", "k": "c2VjcmV0", "kid": "rsa", "alg": "HS256"},
                {**public("rsa"), "kid": None},
                {**public("rsa"), "use": "enc"},
                {**public("rsa"), "key_ops": ["encrypt"]},
                {**public("rsa"), "alg": "RS512"},
                {**public("rsa"), "n": "!"},
                {**public("ec"), "crv": "P-384"},
                public("weak"),
            ]
        }
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_no_key_set_opens_nothing_and_forgets_nothing(
    issuer: Issuer, held: Keys, clock: Clock, case: str
) -> None:
    """A key server that answers nonsense is as one that is away."""
    assert await held.find("rsa", "RS256") is not None
    issuer.body = WRONG[case]
    clock.moved_s += keys.ASK_AGAIN_S
    await refused(held, "rsa-2")
    assert await held.find("rsa", "RS256") is not None


async def test_a_redirect_is_not_followed(issuer: Issuer, held: Keys) -> None:
    """The setting says where the keys are."""
    issuer.status = 302
    await refused(held)
    assert issuer.asked == 1


async def test_the_private_part_of_a_key_is_not_read(issuer: Issuer, held: Keys) -> None:
    """A set that has one is a mistake of the issuer, and no reason to hold it."""
    issuer.body = json.dumps({"keys": [{**public("rsa"), "d": "AQAB", "p": "AQAB", "q": "AQAB"}]})
    found = await held.find("rsa", "RS256")
    assert found is not None
    assert not hasattr(found.key, "private_numbers")


async def test_keys_come_over_tls_from_whom_is_trusted_only(tmp_path: Path) -> None:
    """A server that cannot prove its name is as one that is away."""
    certified = certificate(tmp_path)
    body = json.dumps({"keys": [public("rsa")]}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)  # to the end of the connection
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving(certified)) as server:
        auth = Auth(f"https://localhost:{server.sockets[0].getsockname()[1]}/keys", "i", "a")
        with process.running(Process(Settings(auth=auth))):
            await refused(Keys())
        trusting = trusted()
        trusting.load_verify_locations(certified[0])
        with process.running(Process(Settings(auth=auth), {trusted: trusting})):
            assert await Keys().find("rsa", "RS256") is not None

"""Customers in a closed loop: each orders the next basket when the last one is paid, and knows what it must have cost.

    GET /GetBasket, POST /Order, the outcome

The outcome comes with the answer where `Prefer: wait` is honoured (Preference-Applied says so). Elsewhere GET
/GetBasket is asked until it returns the next basket, which then needs no call of its own.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, Self

from bench.load import Caller, LoadError

DEPOSIT: Final = 10**12
_HIGHEST_SUM: Final = 10**6
_POLL_S: Final = 0.02
_SETTLED_WITHIN_S: Final = 60.0
_NOTIFIED_WITHIN_S: Final = 60.0
_WAIT: Final = {"Prefer": "wait=20"}
_PAGE: Final = 1000  # the longest page of /List


class AuditError(Exception):
    """A basket was not paid, charged and notified once."""


@dataclass
class Customer:
    """One user with money enough."""

    user: str
    caller: Caller
    seed: int
    ordered: dict[str, int] = field(default_factory=dict)
    """What each basket that was paid has cost."""

    waits: bool = False
    """Whether the last order was answered with its outcome."""

    settled: list[tuple[float, float]] = field(default_factory=list)
    """When each outcome was known, and the seconds since POST /Order."""

    _basket: dict[str, Any] | None = None

    @classmethod
    async def of(cls, url: str, number: int) -> Self:
        """Make a user who has money."""
        customer = cls(f"customer-{number}", await Caller.of(url), number)
        await customer.caller.call("POST", "/CreateUser", user=customer.user)
        key = {"Idempotency-Key": "deposit"}
        await customer.caller.call("POST", "/DepositCash", key, user=customer.user, sum=DEPOSIT)
        return customer

    async def run(self, until: float) -> None:
        """Order until the time is over, and wait for the last outcome."""
        # Sums differ, so that one basket charged twice cannot hide another that was not charged.
        sums = random.Random(f"{self.seed} {len(self.ordered)}")  # noqa: S311
        while time.monotonic() < until:
            await self.order(sums.randint(1, _HIGHEST_SUM))

    async def order(self, amount: int) -> None:
        """Order the basket, and wait until it is paid."""
        basket = self._basket or await self._get_basket()
        self._basket = None
        begun = time.monotonic()
        fields = {"user": self.user, "sum": amount, "basket": basket["basket"], "attempt": basket["attempt"]}
        answer = await self.caller.call("POST", "/Order", _WAIT, **fields)
        self.waits = b"preference-applied" in answer.headers
        outcome = answer.json().get("outcome") if self.waits else None
        if outcome == "declined":
            raise AuditError(f"basket {basket['basket']} of {self.user} was declined, and there is money enough")
        if outcome != "paid":
            await self._poll(basket)
        now = time.monotonic()
        self.ordered[basket["basket"]] = amount
        self.settled.append((now, now - begun))

    async def _get_basket(self) -> dict[str, Any]:
        answer = await self.caller.call("GET", "/GetBasket", user=self.user)
        return dict(answer.json())

    async def _poll(self, basket: dict[str, Any]) -> None:
        """Wait for the next basket: it is made only when this one was paid."""
        give_up_at = time.monotonic() + _SETTLED_WITHIN_S
        while (found := await self._get_basket())["basket"] == basket["basket"]:
            if found["order_status"] == "open":
                raise AuditError(f"basket {basket['basket']} of {self.user} was declined, and there is money enough")
            if time.monotonic() > give_up_at:
                raise AuditError(f"basket {basket['basket']} was not paid within {_SETTLED_WITHIN_S:.0f} s")
            await asyncio.sleep(_POLL_S)
        self._basket = found

    async def audit(self) -> int:
        """Return how many baskets were paid, each of them charged once and notified once.

        Raises:
            AuditError: they were not.

        """
        balance = (await self.caller.call("GET", "/GetUser", user=self.user)).json()["balance"]
        charged = DEPOSIT - balance
        if charged != sum(self.ordered.values()):
            raise AuditError(f"{self.user} was charged {charged} for baskets of {sum(self.ordered.values())}")
        give_up_at, notified = time.monotonic() + _NOTIFIED_WITHIN_S, await self._notified()
        while notified.total() < len(self.ordered) and time.monotonic() < give_up_at:
            await asyncio.sleep(0.1)
            notified = await self._notified()
        expected = Counter((basket, amount, "paid") for basket, amount in self.ordered.items())
        if notified != expected:
            wrong = (notified - expected) + (expected - notified)
            raise AuditError(f"{self.user}: {wrong.total()} notifications are missing or too many: {[*wrong][:3]}")
        return len(self.ordered)

    async def _notified(self) -> Counter[tuple[str, int, str]]:
        """Return basket, sum and outcome of each notification."""
        found: Counter[tuple[str, int, str]] = Counter()
        fields: dict[str, object] = {"user": self.user, "limit": _PAGE}
        while True:
            page = (await self.caller.call("GET", "/List", None, **fields)).json()
            found.update((each["basket"], each["sum"], each["outcome"]) for each in page["notifications"])
            if not page.get("next"):
                return found
            fields["before"] = page["next"]

    def close(self) -> None:
        """Close the connection."""
        self.caller.close()


async def audited(customers: list[Customer]) -> int:
    """Return how many baskets of all were paid, charged and notified once. Raises AuditError."""
    try:
        return sum([await customer.audit() for customer in customers])
    except LoadError as error:
        raise AuditError(f"what was done could not be read: {error}") from error

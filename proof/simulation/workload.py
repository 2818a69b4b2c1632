"""What the clients of a run do: create, deposit, order, top up, order again, and repeat anything at any time, late."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True)
class Call:
    """An HTTP request. Sent again it is the very same."""

    function: str
    fields: Mapping[str, Any]
    key: str | None = None
    """The header Idempotency-Key."""

    @property
    def method(self) -> str:
        """GET for what only reads (or makes a basket), POST else."""
        return "GET" if self.function.startswith(("get_", "list_")) else "POST"

    @property
    def user(self) -> str:
        """Who it is about."""
        return str(self.fields["user"])


@dataclass
class _Customer:
    """What one customer knows, from the answers that arrived."""

    user: str
    basket: str | None = None
    attempt: int = 1
    sum: int = 1
    """Of the last order."""


class Workload:
    """Chooses the next call, knowing only what the answers said. The same seed and answers, the same calls."""

    def __init__(self, seed: int, prefix: str) -> None:
        self._random = Random(f"workload {seed}")
        # `$...` is a legal user, and would be a field's value where a pipeline takes it for an expression.
        names = [f"{prefix}.0", f"${prefix}.1", f"{prefix}.Павел"]
        self._customers = [_Customer(name) for name in names[: self._random.choice((1, 1, 2, 3))]]
        self._sent: list[Call] = []
        self._keys = 0
        self.repeats = 0.2
        """How likely a client asks again what it asked before: more often once a restore has undone some of it."""
        self.actions = self._random.choice((8, 16, 24, 40))

    @property
    def users(self) -> list[str]:
        """All customers."""
        return [customer.user for customer in self._customers]

    def next_call(self) -> Call:
        """Choose what a client asks next: mostly to get on with it, at times something it asked before."""
        if self._sent and self._random.random() < self.repeats:
            return self._random.choice(self._sent)
        customer = self._random.choice(self._customers)
        first = not any(call.user == customer.user for call in self._sent)
        # Billing may meet a customer who orders without an account, so creating it first is a habit and not a rule.
        if first and self._random.random() < 0.8:
            call = Call("create_user", {"user": customer.user})
        else:
            call = self._choose(customer)
        self._sent.append(call)
        return call

    def _choose(self, customer: _Customer) -> Call:
        user = {"user": customer.user}
        match self._random.choices(
            ("order", "get_basket", "deposit", "keyed_deposit", "create_user", "get_order", "get_user", "list"),
            (8 if customer.basket else 0, 6, 3, 4, 0.5, 0.7, 0.5, 0.3),
        )[0]:
            case "order":
                return self._order(customer)
            case "deposit":
                return Call("deposit_cash", {**user, "sum": self._sum()})
            case "keyed_deposit":
                if self._keys == 0 or self._random.random() < 0.9:
                    self._keys += 1
                # Else an old key, which may come with another sum.
                return Call("deposit_cash", {**user, "sum": self._sum()}, key=f"key-{self._keys}")
            case "get_order" if customer.basket:
                about: dict[str, Any] = {**user, "basket": customer.basket}
                if self._random.random() < 0.5:
                    about["attempt"] = self._random.randint(1, customer.attempt + 1)
                return Call("get_order", about)
            case "list":
                return Call("list_notify", {**user, "limit": 5})
            case "get_user" | "create_user" as function:
                return Call(function, user)
            case _:
                return Call("get_basket", user)

    def _order(self, customer: _Customer) -> Call:
        if self._random.random() < 0.5:  # else the same sum again: after a top-up, say
            customer.sum = self._sum()
        fields: dict[str, Any] = {"user": customer.user, "basket": customer.basket, "sum": customer.sum}
        if self._random.random() < 0.05:
            fields["user"] = self._random.choice(self._customers).user  # perhaps somebody else's basket
        if self._random.random() < 0.6:
            fields["attempt"] = customer.attempt + (self._random.random() < 0.05)
        return Call("create_order", fields)

    def _sum(self) -> int:
        return self._random.choice((1, 1, 2, 3, 5, 8))

    def learn(self, call: Call, body: Mapping[str, Any]) -> None:
        """Take in the answer to a call that was granted."""
        if call.function == "get_basket":
            customer = next(customer for customer in self._customers if customer.user == call.user)
            customer.basket, customer.attempt = body["basket"], body["attempt"]

"""The shop as its customers call it: JSON over HTTP, through the ingress."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

_TIMEOUT_S = 35  # beyond a function's own 10 s and its wait of 20 s: who gives up first must be the function


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its JSON (empty when a proxy answered) and its headers."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def replayed(self) -> bool:
        """Whether the answer is that of an earlier request."""
        return self.headers.get("Idempotent-Replayed") == "true"


def new_user() -> str:
    """Return a user that no other test has."""
    return f"user-{uuid4().hex[:12]}"


class Shop:
    """All routes of the shop. A status is never an exception; a connection that breaks is an `aiohttp.ClientError`."""

    def __init__(self, url: str) -> None:
        connector = aiohttp.TCPConnector(limit=0)  # 50 requests at once are meant to be at once
        self._client = aiohttp.ClientSession(
            url,
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def call(
        self, method: str, path: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request."""
        async with self._client.request(method, path, json=body, headers=headers) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return Reply(response.status, json.loads(text) if is_json else {}, response.headers)

    async def create_user(self, user: str) -> Reply:
        """Make an account."""
        return await self.call("POST", "/CreateUser", {"user": user})

    async def deposit(self, user: str, sum_: int, key: str | None = None) -> Reply:
        """Deposit; once, when there is a key."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.call("POST", "/DepositCash", {"user": user, "sum": sum_}, headers)

    async def get_basket(self, user: str) -> Reply:
        """Ask for the user's unpaid basket."""
        return await self.call("GET", "/GetBasket", {"user": user})

    async def order(
        self, user: str, basket: str, sum_: int, attempt: int | None = None, *, wait_s: int | None = None
    ) -> Reply:
        """Order a basket, and wait for what becomes of it if there is a time for that."""
        sent = {} if attempt is None else {"attempt": attempt}
        prefer = {} if wait_s is None else {"Prefer": f"wait={wait_s}"}
        return await self.call("POST", "/Order", {"user": user, "sum": sum_, "basket": basket, **sent}, prefer)

    async def get_order(self, user: str, basket: str, *, wait_s: int | None = None) -> Reply:
        """Ask what became of a basket, and wait for it if there is a time for that."""
        query = "" if wait_s is None else f"?wait={wait_s}"
        return await self.call("GET", f"/GetOrder{query}", {"user": user, "basket": basket})

    async def get_user(self, user: str) -> Reply:
        """Ask for an account."""
        return await self.call("GET", "/GetUser", {"user": user})

    async def list_notifications(self, user: str) -> Reply:
        """Ask for the user's notifications."""
        return await self.call("GET", "/List", {"user": user, "limit": 1000})

    async def account(self, balance: int, user: str | None = None) -> str:
        """Return a new user with this balance."""
        user = user or new_user()
        assert (await self.create_user(user)).status == 200
        if balance:
            assert (await self.deposit(user, balance)).status == 200
        return user

    async def basket(self, user: str) -> tuple[str, int]:
        """Return the user's unpaid basket and the attempt to order it with."""
        reply = await self.get_basket(user)
        assert reply.status == 200, reply
        return reply.body["basket"], reply.body["attempt"]

    async def balance(self, user: str) -> int:
        """Return the user's balance."""
        reply = await self.get_user(user)
        assert reply.status == 200, reply
        balance: int = reply.body["balance"]
        return balance

    async def notifications(self, user: str) -> list[tuple[str, str]]:
        """Return the id and outcome of each of the user's notifications, sorted."""
        reply = await self.list_notifications(user)
        assert reply.status == 200, reply
        return sorted((entry["id"], entry["outcome"]) for entry in reply.body["notifications"])

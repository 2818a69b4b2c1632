"""Deposit and order so that each counts once, even if answers are lost or this program ends halfway.

    python examples/client.py deposit salary-july Pavel 100
    python examples/client.py order book-17 Pavel 10

`salary-july` and `book-17` are names of your own: one for each thing that must happen once. After a crash, or when in
doubt, run the same line again. It continues with the keys it kept. docs/clients.md explains the rules; this file
follows them with the standard library alone. Where the shop demands tokens, SHOP_TOKEN holds one; after a 401, run the
same line again with another.
"""

import contextlib
import http.client
import json
import os
import random
import sqlite3
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Fields = dict[str, Any]


WAIT_S = 10
"""How long the shop may wait for the outcome of an order before it answers."""


class Refused(Exception):
    """The shop refused the request. It can never work as it is, so it is not sent again."""


class Unknown(Exception):
    """The shop has not said what became of the request. Run the same line again later: it counts once."""


class Shop:
    """A client that keeps the keys of a request on disk before it sends the request."""

    def __init__(self, url: str, kept: str, *, token: str = "", patience_s: float = 300) -> None:
        self._url, self._kept, self._patience_s = url, kept, patience_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def deposit(self, name: str, user: str, amount: int) -> Fields:
        """Deposit an amount, once for this name, and return the answer."""
        kept = self._keep(name, {"user": user, "sum": amount}, lambda: {"key": str(uuid.uuid4())})
        return self._send("POST", "/DepositCash", {"user": user, "sum": amount}, {"Idempotency-Key": kept["key"]})

    def order(self, name: str, user: str, amount: int) -> Fields:
        """Order the user's basket, once for this name, and return what became of it."""
        order = self._keep(name, {"user": user, "sum": amount}, lambda: self._open_basket(user))
        self._send("POST", "/Order", order)
        wanted = {"user": user, "basket": order["basket"], "attempt": order["attempt"], "wait": WAIT_S}
        return self._poll("/GetOrder", wanted, lambda found: found["outcome"] in ("paid", "declined"))

    def _open_basket(self, user: str) -> Fields:
        """Return the basket and attempt to order next. While the basket is `ordered`, another order is on its way."""
        basket = self._poll("/GetBasket", {"user": user}, lambda found: found["order_status"] == "open")
        return {"basket": basket["basket"], "attempt": basket["attempt"]}

    def _keep(self, name: str, asked: Fields, keys: Callable[[], Fields]) -> Fields:
        """Return the request kept under a name; the first time, complete it with its keys and write it to disk."""
        with contextlib.closing(sqlite3.connect(self._kept, isolation_level=None)) as kept:
            kept.execute("CREATE TABLE IF NOT EXISTS requests (name PRIMARY KEY, request)")
            find = "SELECT request FROM requests WHERE name = ?"
            if not kept.execute(find, [name]).fetchone():
                kept.execute("INSERT OR IGNORE INTO requests VALUES (?, ?)", [name, json.dumps({**asked, **keys()})])
            request: Fields = json.loads(kept.execute(find, [name]).fetchone()[0])
        if not asked.items() <= request.items():
            raise ValueError(f"{name} is already the name of {request}; choose another one")
        return request

    def _send(self, method: str, path: str, fields: Fields, headers: Mapping[str, str] | None = None) -> Fields:
        """Send a request, again and again, until the shop says what became of it."""
        give_up_at, wait_s = time.monotonic() + self._patience_s, 0.2
        while True:
            try:
                status, retry_after_s, answer = self._once(method, path, fields, headers or {})
                if status == 200:
                    return answer
                why = f"{status} {answer.get('message', 'and no message: this was not a function')}"
                if 400 <= status < 500 and "message" in answer:
                    raise Refused(why)
            except (OSError, http.client.HTTPException, ValueError) as error:
                retry_after_s, why = 0.0, f"no answer: {error}"  # done or not done: the keys make a repeat safe
            if time.monotonic() > give_up_at:
                raise Unknown(why)
            time.sleep(max(retry_after_s, wait_s * random.uniform(0.5, 1)))  # clients must not come back all at once
            wait_s = min(2 * wait_s, 30)

    def _poll(self, path: str, fields: Fields, is_done: Callable[[Fields], bool]) -> Fields:
        give_up_at = time.monotonic() + self._patience_s
        while not is_done(answer := self._send("GET", f"{path}?{urllib.parse.urlencode(fields)}", {})):
            if time.monotonic() > give_up_at:
                raise Unknown(f"{path} still says {answer}")
            time.sleep(0.5)
        return answer

    def _once(self, method: str, path: str, fields: Fields, headers: Mapping[str, str]) -> tuple[int, float, Fields]:
        """Return the status, how long to wait, and the JSON; {} in place of what an ingress says by itself."""
        body = json.dumps(fields).encode() if fields else None
        request = urllib.request.Request(self._url + path, body, {**self._headers, **headers}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=15 + WAIT_S) as response:
                return response.status, 0.0, json.load(response)
        except urllib.error.HTTPError as refused:
            is_json = refused.headers.get_content_type() == "application/json"
            return refused.code, float(refused.headers.get("Retry-After", 0)), json.load(refused) if is_json else {}


def main(words: Sequence[str]) -> str:
    """Do what the words say, and return what became of it; exit with the reason when it is nothing."""
    try:
        verb, name, user, amount = words
        send, wanted = {"deposit": Shop.deposit, "order": Shop.order}[verb], int(amount)
    except (KeyError, ValueError):
        sys.exit(__doc__)
    url, kept = os.environ.get("SHOP_URL", "http://127.0.0.1:8080"), os.environ.get("SHOP_KEPT", "kept.sqlite")
    try:
        answer = send(Shop(url, kept, token=os.environ.get("SHOP_TOKEN", "")), name, user, wanted)
    except (Refused, Unknown, ValueError) as failure:
        sys.exit(f"{failure}")
    why = f": {answer['decline_code']}" if answer.get("decline_code") else ""
    return f"{answer.get('outcome', answer['message'])}{why}"


if __name__ == "__main__":
    print(main(sys.argv[1:]))

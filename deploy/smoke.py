"""Order something of a shop that runs anywhere, over HTTP alone, and hold its answers to the money.

The calls are those of `make demo`, without what needs Kafka: each is repeated, and none may count twice.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from deploy.commands import Failed

Answer = dict[str, Any]

_PATHS: Final = {
    "/CreateUser": "create-user",
    "/DepositCash": "deposit-cash",
    "/GetBasket": "get-basket",
    "/Order": "create-order",
    "/GetOrder": "get-order",
    "/GetUser": "get-user",
    "/List": "list-notify",
}
"""The calls, and the function that answers each: it has a host of its own where no gateway maps paths."""

_WAIT_S: Final = 10
_TIMEOUT_S: Final = 40
"""Above the 30 s after which Serving gives up on a function, so that its answer is seen."""

_PATIENCE_S: Final = 90
"""How long a call may be answered 503: a function that scales from zero, and one resend after a minute."""

_PAUSE_S: Final = 0.5


_INSIDE: Final = ".svc.cluster.local"
"""How hosts end where nobody gave Knative a domain (config-domain): its public gateway knows none of them."""


def _hint(status: int, host: str) -> str:
    """Say what to do about an answer that did not come from a function."""
    if status in (401, 403):
        return "; with authentication on, say TOKEN=, one with the role admin"
    is_inside = host.partition(":")[0].endswith(_INSIDE)
    if status and not (status == 404 and is_inside):
        return ""
    gateway, why = ("kourier-internal", " (it has no public domain)") if is_inside else ("kourier", "")
    forward = f"kubectl port-forward -n kourier-system service/{gateway} 8081:80"
    return (
        f"; from here a cluster is reached at its ingress{why}: URL=http://ADDRESS, or for Kourier `{forward}` and "
        "URL=http://127.0.0.1:8081"
    )


class Wrong(Failed):
    """An answer is not what the shop promises."""


@dataclass(frozen=True)
class Target:
    """Where a call goes: its URL, and the Host that it is for if that is another."""

    url: str
    host: str = ""


def targets(url: str, ask: Callable[[], Mapping[str, str]], say: Callable[[str], None]) -> dict[str, Target]:
    """Return where each call goes. Raises Failed when that cannot be told.

    Args:
        url: one host with the public paths; or a template of each function's URL with {name} in it; or the URL of one
            function, whose others are beside it; or an ingress that knows functions by Host alone; or nothing.
        ask: asks the cluster for the URL of each function, where that is needed.
        say: is told what was made of the URL.

    """
    if not url:
        return {path: Target(each.rstrip("/") + path) for path, each in _of_functions(ask()).items()}
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Failed(
            f"{url!r} is no URL: use one for all calls, such as URL=https://shop.internal, or a template of each "
            "function's, such as URL='http://{name}.shop.127.0.0.1.sslip.io'"
        )
    first = parts.hostname.partition(".")[0]
    if first in _PATHS.values():
        url = url.replace(f"//{first}.", "//{name}.")
    if "{name}" in url:
        return {path: Target(url.replace("{name}", name).rstrip("/") + path) for path, name in _PATHS.items()}
    url = url.rstrip("/")
    if _knows_paths(url):
        return {path: Target(url + path) for path in _PATHS}
    say(f"{url} knows no path of the shop. So it is taken for Knative's ingress, which goes by the Host of a function:")
    return {path: Target(url + path, urlsplit(each).netloc) for path, each in _of_functions(ask()).items()}


def _of_functions(urls: Mapping[str, str]) -> dict[str, str]:
    """Return the URL of the function that answers each call. Raises Failed when one has none."""
    if absent := [name for name in _PATHS.values() if name not in urls]:
        raise Failed(f"these functions have no URL: {', '.join(absent)}; make status shows why, or say URL=")
    return {path: urls[name] for path, name in _PATHS.items()}


def _knows_paths(url: str) -> bool:
    """Whether a path of the shop leads to a function: an ingress that does not know it answers 404 in its own words."""
    status, answer = _once(urllib.request.Request(f"{url}/GetUser"))  # noqa: S310 - http(s), checked
    return status != 404 or "status" in answer


class Smoke:
    """One customer, their money, and what is expected of it."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        say: Callable[[str], None],
        customer: str = "",
        token: str = "",
        *,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._targets, self._say, self._token, self._patience_s = targets, say, token, patience_s
        self._customer = customer or f"smoke {uuid.uuid4()}"

    def run(self) -> None:
        """Deposit, order and be declined, each more than once. Raises Wrong at the first answer that is not right."""
        began = time.monotonic()
        self._post("/CreateUser")
        before = self._user()["balance"]  # a customer who was named may have ordered before
        known = len(self._get("/List")["log"])

        key = {"Idempotency-Key": str(uuid.uuid4())}
        for _ in range(2):
            self._post("/DepositCash", key, sum=100)
        self._expect_balance(before + 100, "a deposit of 100, sent twice, counts once")

        paid = self._order(10)
        self._expect_outcome(paid, "paid")
        for _ in range(3):
            self._post("/Order", **paid)
        self._expect_balance(before + 90, "an order of 10, sent four times, is charged once")

        declined = self._order(before + 500)
        self._expect_outcome(declined, "declined")
        self._post("/DepositCash", {"Idempotency-Key": str(uuid.uuid4())}, sum=1000)
        self._post("/Order", **declined)
        self._expect_outcome(declined, "declined")
        self._expect_balance(before + 1090, "an order that was declined stays so, whatever is deposited later")

        charges = [entry["sum"] for entry in self._user()["paid_baskets"] if entry["basket"] == paid["basket"]]
        _expect(charges == [10], f"one charge of 10 for basket {paid['basket']}, not {charges}")
        if known < 90:  # a page has a hundred
            self._until(lambda: len(self._get("/List", quiet=True)["log"]) >= known + 2, "two notifications")
            log = [line.rpartition(" ")[2] for line in self._get("/List")["log"]][known:]
            _expect(log == ["true", "false"], f"notified of one paid and one declined order, not {log}")
        self._say(f"{self._customer} was charged exactly once; it took {time.monotonic() - began:.1f} s")

    def _order(self, sum_: int) -> Answer:
        """Order what is in the customer's basket, and return the request, to be repeated."""
        self._until(
            lambda: self._get("/GetBasket", quiet=True)["order_status"] == "open", "a basket that can be ordered"
        )
        basket = self._get("/GetBasket")
        order = {"sum": sum_, "basket": basket["basket"], "attempt": basket["attempt"]}
        self._post("/Order", **order)
        return order

    def _expect_outcome(self, order: Answer, outcome: str) -> None:
        asked = {"basket": order["basket"], "attempt": order["attempt"], "wait": _WAIT_S}
        found: Answer = {}

        def is_decided() -> bool:
            found.update(self._get("/GetOrder", quiet=True, **asked))
            return found["outcome"] in ("paid", "declined")

        self._until(is_decided, f"a decision on basket {order['basket']}: are the handlers and KafkaSources ready?")
        _expect(found["outcome"] == outcome, f"basket {order['basket']} to be {outcome}, not {found['outcome']}")
        self._say(f"     {outcome}")

    def _expect_balance(self, balance: int, why: str) -> None:
        found = self._user()["balance"]
        _expect(found == balance, f"a balance of {balance}, not {found}: {why}")
        self._say(f"     balance {found}: {why}")

    def _user(self) -> Answer:
        return self._get("/GetUser", quiet=True)

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        give_up_at = time.monotonic() + self._patience_s
        while not holds():
            _expect(time.monotonic() < give_up_at, f"{what}, within {self._patience_s:.0f} s")
            time.sleep(_PAUSE_S)

    def _post(self, path: str, headers: Mapping[str, str] | None = None, **fields: object) -> Answer:
        body = json.dumps({"user": self._customer, **fields}).encode()
        return self._call("POST", path, self._targets[path].url, fields, body=body, headers=headers or {})

    def _get(self, path: str, *, quiet: bool = False, **fields: object) -> Answer:
        url = f"{self._targets[path].url}?{urlencode({'user': self._customer, **fields})}"
        return self._call("GET", path, url, fields, quiet=quiet)

    def _call(
        self,
        method: str,
        path: str,
        url: str,
        fields: Mapping[str, object],
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        quiet: bool = False,
    ) -> Answer:
        """Send a request until it is answered 200: each of ours may be repeated. Raises Wrong for another answer."""
        told = {"Content-Type": "application/json", **(headers or {})}
        if host := self._targets[path].host:
            told["Host"] = host
        if self._token:
            told["Authorization"] = f"Bearer {self._token}"
        give_up_at = time.monotonic() + self._patience_s
        while True:
            status, answer = _once(urllib.request.Request(url, body, told, method=method))  # noqa: S310 - http(s), checked
            if status == 200:
                break
            if status not in (0, 502, 503, 504) or time.monotonic() > give_up_at:
                by = f"was answered {status or 'by nobody'}: {answer.get('message')}"
                raise Wrong(f"{method} {url} {by}{_hint(status, host or urlsplit(url).netloc)}")
            time.sleep(_PAUSE_S)
        if not quiet:
            shown = " ".join(f"{name}={value}" for name, value in fields.items())
            self._say(f"  {method:<4} {path:<12} {shown:<52} {answer.get('message')}".rstrip())
        return answer


def _once(request: urllib.request.Request) -> tuple[int, Answer]:
    """Return the status and the fields of an answer; 0 and why, when there was none."""
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - http(s), checked
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        with refused:
            text = refused.read()
        try:
            answer = json.loads(text)
        except ValueError:  # an ingress speaks for itself
            answer = text.decode(errors="replace")
        return refused.code, answer if isinstance(answer, dict) else {"message": str(answer)[:200]}
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, {"message": f"{error}"}


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(f"expected {what}")

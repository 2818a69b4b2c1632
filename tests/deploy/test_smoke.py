"""`make smoke` passes on a shop that keeps its promise, and fails on one that charges twice."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps, loads
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from deploy import smoke
from deploy.commands import Failed
from local.ports import free_port
from local.stack import Stack


def found(url: str, said: list[str] | None = None, **functions: str) -> dict[str, smoke.Target]:
    """Where calls go, with a cluster that has these functions."""
    return smoke.targets(url, lambda: functions, (said if said is not None else []).append)


async def test_a_running_shop_passes(stack: Stack) -> None:
    """The real functions, twice for one customer: it counts from where they are."""
    said: list[str] = []
    for _ in range(2):
        run = smoke.Smoke(found(stack.url), said.append, "Smoke of a test")
        await asyncio.to_thread(run.run)
    assert [line for line in said if "balance" in line][-1].startswith("     balance 2180")
    assert re.fullmatch(r"Smoke of a test was charged exactly once; it took [\d.]+ s", said[-1])


class Pretended:
    """A shop of a few lines, with a bug of one's choice, that remembers what it was sent."""

    def __init__(self, bug: str = "", hosts: str = "") -> None:
        self.hosts = hosts
        self.bug, self.balance, self.keys, self.attempts = bug, 0, set[str](), dict[tuple[str, int], str]()
        self.number, self.paid, self.log, self.tokens = 1, list[dict[str, Any]](), list[str](), set[str | None]()
        self.late = 2 if bug == "starts slowly" else 0

    def answer(self, path: str, told: dict[str, Any], key: str | None) -> tuple[int, dict[str, Any]]:
        """Answer as the shop does, as far as smoke looks."""
        if self.late:
            self.late -= 1
            return 503, {"message": "starting"}
        if self.bug == "refuses":
            return 401, {"message": "who are you?"}
        return 200, {"message": "", **getattr(self, path.strip("/").lower())(told, key)}

    def createuser(self, *_: object) -> dict[str, Any]:
        """Know everybody already."""
        return {}

    def depositcash(self, told: dict[str, Any], key: str | None) -> dict[str, Any]:
        """Count a deposit once for its key."""
        if key not in self.keys or self.bug == "deposits twice":
            self.balance += told["sum"]
        self.keys.add(f"{key}")
        return {}

    def getbasket(self, *_: object) -> dict[str, Any]:
        """Show the basket that is not paid yet."""
        attempt = 1 + sum(basket == f"b{self.number}" for basket, _ in self.attempts)
        return {"basket": f"b{self.number}", "attempt": attempt, "order_status": "open"}

    def order(self, told: dict[str, Any], *_: object) -> dict[str, Any]:
        """Decide an attempt once."""
        order = (told["basket"], told["attempt"])
        if order in self.attempts and self.bug != f"{self.attempts[order]} again":
            return {}
        self.attempts[order] = "paid" if told["sum"] <= self.balance else "declined"
        if self.attempts[order] == "paid":
            self.balance -= told["sum"]
            self.paid.append({"basket": told["basket"], "sum": told["sum"]})
            self.number += self.bug != "declined again"
        self.log.append(f"user x result {'true' if self.attempts[order] == 'paid' else 'false'}")
        if self.bug == "notifies nobody":
            self.log.clear()
        return {}

    def getorder(self, told: dict[str, Any], *_: object) -> dict[str, Any]:
        """Show what was decided."""
        return {"outcome": self.attempts.get((told["basket"], int(told["attempt"])), "ordered")}

    def getuser(self, *_: object) -> dict[str, Any]:
        """Show the account."""
        return {"balance": self.balance, "paid_baskets": self.paid}

    def list(self, *_: object) -> dict[str, Any]:
        """Show the notifications."""
        return {"log": self.log}


@contextmanager
def served(shop: Pretended) -> Iterator[str]:
    """Serve it on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.respond(dict(parse_qsl(urlsplit(self.path).query)))

        def do_POST(self) -> None:
            self.respond(loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def respond(self, told: dict[str, Any]) -> None:
            path = urlsplit(self.path).path
            if shop.hosts and self.headers["Host"] != f"{smoke._PATHS[path]}.{shop.hosts}":
                self.send_error(404)
                return
            shop.tokens.add(self.headers["Authorization"])
            status, fields = shop.answer(path, told, self.headers["Idempotency-Key"])
            body = dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def run(shop: Pretended, token: str = "") -> list[str]:
    """Order something of it."""
    said: list[str] = []
    with served(shop) as url:
        targets = found(url)
        shop.tokens.clear()  # finding out is nobody's call
        smoke.Smoke(targets, said.append, token=token, patience_s=2).run()
    return said


@pytest.mark.parametrize("bug", ["", "starts slowly"])
def test_a_shop_that_keeps_its_promise_passes(bug: str) -> None:
    """Also one whose functions scale from zero: 503 is not its last word."""
    assert run(Pretended(bug))[-1].startswith("smoke ")


BUGS = {
    "deposits twice": "a balance of 100, not 200",
    "paid again": "a balance of 90, not ",
    "declined again": "to be declined, not paid|a balance of 1090",
    "notifies nobody": "two notifications",
    "refuses": "401.*say TOKEN=",
}


@pytest.mark.parametrize(("bug", "expected"), BUGS.items(), ids=BUGS)
def test_a_shop_that_breaks_it_fails(bug: str, expected: str) -> None:
    """The failure says which sum was expected, and why."""
    with pytest.raises(Failed, match=expected):
        run(Pretended(bug))


def test_a_token_goes_with_every_request() -> None:
    """For a shop that asks who calls."""
    shop = Pretended()
    run(shop, "abc")
    assert shop.tokens == {"Bearer abc"}


@pytest.mark.parametrize("url", ["http://{name}.shop.127.0.0.1.sslip.io/", "http://get-user.shop.127.0.0.1.sslip.io"])
def test_a_template_has_a_host_for_each_function(url: str) -> None:
    """Where no gateway maps paths, each function has a host of its own; that of one tells the others."""
    assert found(url)["/Order"].url == "http://create-order.shop.127.0.0.1.sslip.io/Order"


def test_an_ingress_is_told_the_host_of_each_function() -> None:
    """Knative's own knows no paths, and the names of its functions may lead nowhere from here."""
    functions = {name: f"http://{name}.shop.example.com" for name in smoke._PATHS.values()}
    said: list[str] = []
    with served(Pretended(hosts="shop.example.com")) as url:
        targets = found(url, said, **functions)
        smoke.Smoke(targets, said.append, patience_s=2).run()
    assert "is taken for Knative's ingress" in said[0]
    assert targets["/Order"] == smoke.Target(f"{url}/Order", "create-order.shop.example.com")
    assert said[-1].startswith("smoke ")


@pytest.mark.parametrize("wrong", ["shop.internal", "ftp://shop.internal"])
def test_what_is_no_url_is_said(wrong: str) -> None:
    """With two that are."""
    with pytest.raises(Failed, match="is no URL: use one for all calls"):
        found(wrong)


def test_nobody_there_is_said() -> None:
    """With the address that did not answer, and how to reach a cluster."""
    with pytest.raises(Failed, match=r"(?s)CreateUser was answered by nobody.*port-forward"):
        smoke.Smoke(found(f"http://127.0.0.1:{free_port()}"), lambda _: None, patience_s=0.5).run()


def test_a_cluster_without_a_domain_is_reached_at_its_inner_gateway() -> None:
    """Knative then makes every function cluster-local, and its public gateway answers 404 for it."""
    functions = {name: f"http://{name}.shop.svc.cluster.local" for name in smoke._PATHS.values()}
    with served(Pretended(hosts="shop.example.com")) as url:
        targets = found(url, [], **functions)
        with pytest.raises(Failed, match=r"(?s)was answered 404.*no public domain.*service/kourier-internal 8081:80"):
            smoke.Smoke(targets, lambda _: None, patience_s=1).run()

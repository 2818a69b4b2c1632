"""What a container starts: one server, on all addresses, which drains what is in flight and outlasts a proxy."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from shop import serve
from shop.edge import handling
from shop.process import process
from shop.process.log import JsonFormatter
from shop.process.settings import Settings
from tests.support.asgi import framework


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Start a function; return what the server was told, without running it."""
    told: dict[str, Any] = {}

    def run(server: uvicorn.Server) -> None:
        told.update(vars(server.config), logs=[type(handler.formatter) for handler in logging.root.handlers])

    monkeypatch.setattr(uvicorn.Server, "run", run)
    environment = {"FUNCTION_TARGET": "get_order", "PORT": "8123"}
    with process.running(process.Process(Settings.read(environment))), framework(), log_of_its_own():
        serve.main(environment)
    return told


@contextmanager
def log_of_its_own() -> Iterator[None]:
    """Give the log back to pytest afterwards."""
    handlers, level = logging.root.handlers, logging.root.level
    logging.root.handlers = []
    try:
        yield
    finally:
        logging.root.handlers = handlers
        logging.root.setLevel(level)


def test_it_listens_where_knative_sends(served: dict[str, Any]) -> None:
    """On every address of the container, at the port that Serving chose."""
    assert (served["host"], served["port"]) == ("0.0.0.0", 8123)  # noqa: S104


def test_requests_in_flight_may_end_after_sigterm(served: dict[str, Any]) -> None:
    """A body's time, a function's own, and some: without it the server would wait for ever, or not at all."""
    assert served["timeout_graceful_shutdown"] == serve.DRAIN_S
    assert served["timeout_graceful_shutdown"] > handling.BODY_S + handling.DEADLINE_S


def test_idle_connections_are_kept_longer_than_any_proxy_keeps_them(served: dict[str, Any]) -> None:
    """Five seconds, the server's default, would meet a proxy's next request with a closed connection."""
    assert served["timeout_keep_alive"] == serve.KEEP_ALIVE_S == 120


def test_one_process_serves_and_nothing_is_logged_twice(served: dict[str, Any]) -> None:
    """Serving scales by containers; each message has one line of our own, and no header names the server."""
    assert served["logs"] == [JsonFormatter]
    assert (served["workers"], served["reload"]) == (1, False)
    assert (served["limit_concurrency"], served["limit_max_requests"]) == (None, None)
    assert (served["access_log"], served["log_config"], served["server_header"]) == (False, None, False)
    assert (served["loop"], served["http"], served["lifespan"]) == ("uvloop", "httptools", "off")

"""The console in this process, on a real MongoDB and without Kafka; dead letters are handed in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest

from local.servers.mongodb import Mongod
from operate import places
from operate.console import served
from operate.console.shop import Shop
from operate.letters import Letter
from operate.running import RunningShop
from tests.support.asgi import exchange

HOST = "127.0.0.1:8080"


@dataclass
class Handed(Shop):
    """A shop whose dead letters are those of a test."""

    dead: Sequence[Letter] = field(default=())

    def letters(self) -> list[Letter]:
        """Return them."""
        return list(self.dead)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@dataclass(frozen=True)
class Answered:
    """A page as it came."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def words(self) -> str:
        """Return what a reader sees."""
        return " ".join(self._parsed().words)

    @property
    def tags(self) -> list[tuple[str, dict[str, str | None]]]:
        """Return its elements."""
        return self._parsed().tags

    @property
    def form(self) -> dict[str, str]:
        """Return the hidden fields of the form that pushes."""
        return {str(a["name"]): str(a["value"]) for tag, a in self.tags if tag == "input" and a.get("type") == "hidden"}

    def _parsed(self) -> _Words:
        parser = _Words()
        parser.feed(self.body)
        return parser


@dataclass
class Browser:
    """Somebody who looks at the console."""

    shop: Shop

    async def get(self, path: str, *, authorization: str = "", **query: object) -> Answered:
        """Open a page."""
        token = [("authorization", authorization)] if authorization else []
        return await self._send("GET", path, urlencode(query), b"", [("host", HOST), *token])

    async def push(self, path: str, form: dict[str, str], **headers: str) -> Answered:
        """Send a form, as a page of the console does, but for these headers; an empty one is left out."""
        usual = {"host": HOST, "sec_fetch_site": "same-origin", "origin": f"http://{HOST}"}
        kept = [(name.replace("_", "-"), value) for name, value in (usual | headers).items() if value]
        return await self._send("POST", path, "", urlencode(form).encode(), kept)

    async def _send(self, method: str, path: str, query: str, body: bytes, headers: list[tuple[str, str]]) -> Answered:
        app = vars(served("console", self.shop))["app"]
        start, *rest = await exchange(app, method, path=path, query=query, body=body, headers=headers)
        told = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answered(start["status"], told, b"".join(each.get("body", b"") for each in rest).decode())


@pytest.fixture
def shop_opened(shop: None, mongod: Mongod) -> Iterator[Callable[..., Handed]]:
    """Return what opens the console's shop."""
    running = RunningShop(places.find({"MONGODB_URI": mongod.uri}), connect_timeout_s=0.2)
    with running.databases() as databases:

        def opened(**more: Any) -> Handed:
            return Handed(running, databases, None, **more)

        yield opened


@pytest.fixture
def browser(shop_opened: Callable[..., Handed]) -> Browser:
    """Return somebody who may push."""
    return Browser(shop_opened(anybody_may_push=True))

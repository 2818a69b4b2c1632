"""The shop that the console looks at: opened once, and looked at once a second however many pages ask."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from operate import letters
from operate.databases import Databases
from operate.errors import NotReachable
from operate.letters import Letter
from operate.places import NotTold, find
from operate.running import RunningShop
from operate.status import Status
from operate.topics import Topics
from operate.urls import checked
from operate.watch import LETTERS, Watch
from shop.process import process

_FRESH_S: Final = 1.0
_SELECTION_MS: Final = 2_000
_CONNECT_S: Final = 2.0
"""How long a page waits for MongoDB or Kafka before it says that one is away."""


@dataclass
class Shop:
    """What pages are made of."""

    running: RunningShop
    databases: Databases
    topics: Topics | None
    anybody_may_push: bool = False
    """Whether whoever reaches the console may push its buttons, where nobody is identified: for one machine."""

    trace_url: str = ""
    """Where a trace is shown, with {trace} for its id; empty where nothing shows traces."""

    _watch: Watch = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _status: Status | None = field(default=None, init=False)
    _until: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        places, timeout_s = self.running.places, self.running.connect_timeout_s
        self._watch = Watch(places, self.databases, self.topics, timeout_s)

    @property
    def may_push(self) -> bool:
        """Whether whoever sees a page may push its button: anybody, or, where tokens are demanded, only admins do."""
        return self.anybody_may_push or process.current().settings.auth is not None

    def status(self) -> Status:
        """Return what a look has found, at most a second ago."""
        with self._lock:
            if self._status is None or time.monotonic() > self._until:
                self._status = self._watch.look()
                self._until = time.monotonic() + _FRESH_S
            return self._status

    def look_again(self) -> None:
        """Let the next look be a new one: something was just done."""
        self._until = 0.0

    def letters(self) -> list[Letter]:
        """Return the latest dead letters, and what has become of each. Raises NotReachable."""
        if self.topics is None:
            raise NotReachable("nothing says where Kafka is")
        found, _ = letters.latest(self.topics, self.running.places, LETTERS)
        return list(letters.judged(found, self.databases))


def opened(environment: Mapping[str, str] = os.environ) -> Shop:
    """Open the shop that an environment names. Raises WrongUse when it names none."""
    places = find(environment)
    running = RunningShop(places, selection_timeout_ms=_SELECTION_MS, connect_timeout_s=_CONNECT_S)
    try:
        topics: Topics | None = running.topics()
    except NotTold:
        topics = None
    push, trace_url = environment.get("CONSOLE_PUSH"), environment.get("TRACE_URL", "")
    if trace_url:
        checked(trace_url.replace("{trace}", "0" * 32), "TRACE_URL")
    return Shop(running, running.databases(), topics, push == "anybody", trace_url)

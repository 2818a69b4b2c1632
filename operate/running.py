"""A running shop: where it is, and what opens each part of it. Whoever looks at another one hands another in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from operate import databases, letters, topics
from operate.databases import Databases
from operate.deliver import RETRIES, Target
from operate.letters import Letter
from operate.places import NotTold, Places
from operate.topics import Topics
from operate.watch import Watch
from wire.delivery import DeliverySpec


@dataclass
class RunningShop:
    """What a verb looks at and acts on."""

    places: Places
    tell: Callable[[str], None] = lambda _: None
    """Told once, before anything is looked at, what is: who is in the wrong folder should see it. And of remarks."""

    retries: DeliverySpec = RETRIES
    selection_timeout_ms: int = databases.SELECTION_TIMEOUT_MS
    connect_timeout_s: float = topics.CONNECT_TIMEOUT_S
    _told: bool = field(default=False, init=False)

    def databases(self) -> Databases:
        """Open the three databases. Raises WrongUse."""
        addresses = self.places.databases
        self._look()
        timeout_ms = self.selection_timeout_ms
        return Databases(addresses, self.places.names, selection_timeout_ms=timeout_ms, tell=self.tell)

    def topics(self) -> Topics:
        """Return the topics of its Kafka. Raises NotTold."""
        kafka = self.places.kafka
        self._look()
        return Topics(kafka, connect_timeout_s=self.connect_timeout_s)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Open what looks at the whole shop. Raises WrongUse; without a word of where Kafka is, Kafka is left out."""
        with self.databases() as opened:
            try:
                kafka: Topics | None = self.topics()
            except NotTold:
                kafka = None
            yield Watch(self.places, opened, kafka, self.connect_timeout_s)

    def letters(self, since_ms: int | None = None) -> list[Letter]:
        """Return the dead letters, and what has become of each. Raises WrongUse and NotReachable."""
        found = letters.read(self.topics(), self.places, since_ms)
        with self.databases() as opened:
            return list(letters.judged(found, opened))

    def function(self, name: str) -> Target:
        """Return a consumer to send to. Raises WrongUse."""
        url = self.places.function(name)
        self._look()
        return self.target(url)

    def sink(self, name: str) -> Target:
        """Return a KafkaSink to send to. Raises NotTold."""
        url = self.places.sink(name)
        self._look()
        return self.target(url)

    def target(self, url: str) -> Target:
        """Return whatever is at a URL, to send to."""
        return Target(url, retries=self.retries)

    def _look(self) -> None:
        if not self._told:
            self._told = True
            self.tell(f"looking at {self.places}")

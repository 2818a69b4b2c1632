"""Records of Kafka without a Kafka."""


class Message:
    """A record of Kafka as confluent_kafka gives it, on partition 2 of `payments`."""

    def __init__(self, value: bytes | None, headers: list[tuple[str, bytes | None]], key: bytes | None = None) -> None:
        self._value, self._headers, self._key = value, headers, key

    def topic(self) -> str:
        """Return its topic."""
        return "payments"

    def partition(self) -> int:
        """Return its partition."""
        return 2

    def offset(self) -> int:
        """Return its offset."""
        return 2**40

    def timestamp(self) -> tuple[int, int]:
        """Return its time."""
        return 1, 1_795_000_000_000

    def key(self) -> bytes | None:
        """Return its key."""
        return self._key

    def value(self) -> bytes | None:
        """Return its value."""
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Return its headers."""
        return self._headers

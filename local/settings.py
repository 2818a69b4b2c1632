"""Settings of the one-machine stack, by environment variable."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).parent.parent
"""The folder of the project: functions run from here."""


class SettingsError(Exception):
    """A setting that cannot be used; the message names the variable, and what to do."""


@dataclass(frozen=True)
class Settings:
    """Where the stack listens and keeps its data. A port of 0 is one that is free.

    The fixed ports lie where hardly anybody listens, and below those that Linux gives to outgoing connections.
    """

    port: int = 8080
    folder: Path = Path(".stack")
    mongodb_port: int = 27117
    kafka_port: int = 19092
    sink_port: int = 18081
    mongodb_uri: str | None = None
    """A MongoDB replica set to use instead of starting one."""
    kafka_bootstrap_servers: str | None = None
    """A Kafka to use instead of starting one."""
    echo_logs: bool = False
    manifests: Path = ROOT / "knative" / "base"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read PORT, LOCAL_DIR, MONGODB_PORT, KAFKA_PORT, SINK_PORT, MONGODB_URI, KAFKA_BOOTSTRAP_SERVERS and LOG.

        Raises:
            SettingsError: a port that is none.

        """

        def port(name: str, default: int) -> int:
            value = environment.get(name) or str(default)
            if not (value.isascii() and value.isdigit() and int(value) < 2**16):
                raise SettingsError(f"{name}={value} is not a port: give a number from 0 (any free port) to 65535")
            return int(value)

        return cls(
            port=port("PORT", cls.port),
            folder=Path(environment.get("LOCAL_DIR") or cls.folder),
            mongodb_port=port("MONGODB_PORT", cls.mongodb_port),
            kafka_port=port("KAFKA_PORT", cls.kafka_port),
            sink_port=port("SINK_PORT", cls.sink_port),
            mongodb_uri=environment.get("MONGODB_URI") or None,
            kafka_bootstrap_servers=environment.get("KAFKA_BOOTSTRAP_SERVERS") or None,
            echo_logs=environment.get("LOG") == "1",
        )

"""Settings of the one-machine stack, by environment variable."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from wire.address import hosts
from wire.login import PASSWORD, LoginError, checked

ROOT: Final = Path(__file__).parent.parent
"""The folder of the project: functions run from here."""


_ROLES: Final = "AUTH_ROLES_CLAIM"
_AUTH: Final = frozenset({"AUTH_JWKS_URL", "AUTH_ISSUER", "AUTH_AUDIENCE", _ROLES})


class SettingsError(Exception):
    """A setting that cannot be used; the message names the variable, and what to do."""


@dataclass(frozen=True)
class Settings:
    """Where the stack listens and keeps its data. A port of 0 is one that is free.

    The fixed ports lie where hardly anybody listens, below those that are handed out as free ones
    (local.ports), and below those that Linux gives to outgoing connections.
    """

    port: int = 8080
    folder: Path = Path(".stack")
    mongodb_port: int = 17117
    kafka_port: int = 19092
    sink_port: int = 18081
    mongodb_uri: str | None = None
    """A MongoDB replica set to use instead of starting one."""
    kafka_bootstrap_servers: str | None = None
    """A Kafka to use instead of starting one."""
    kafka_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    """How to log in to that Kafka, by the variables of `wire.login`, the password among them."""
    sink_tokens: Path | None = None
    """The file of the tokens that the KafkaSinks demand, if they demand any; see `local/stand_ins/kafka_sink.py`."""
    databases: Mapping[str, str] = field(default_factory=dict)
    """Variables that rename databases, for a MongoDB that others use too; nothing in the environment sets them."""
    echo_logs: bool = False
    auth: Mapping[str, str] = field(default_factory=dict)
    """What the public functions are told of tokens, by variable; without it they demand none."""
    traces: bool = False
    """Whether Zipkin runs beside it, and functions tell it what they do."""
    zipkin_port: int = 19411
    manifests: Path = ROOT / "local"
    """The folder of a kustomization: the base with its topics and its public paths."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables that docs/local.md lists, each absent when it is empty.

        A database or a Kafka of somebody else is used only when a second variable says so: MONGODB_URI is exported for
        `orders`, too, which only reads.

        Raises:
            SettingsError: some cannot be used; the message names them all.

        """
        faults: list[str] = []

        def port(name: str, default: int) -> int:
            value = environment.get(name) or str(default)
            if value.isascii() and value.isdigit() and len(value) < 6 and int(value) < 2**16:
                return int(value)
            faults.append(f"{name}={value} is not a port: give a number from 0 (any free port) to 65535")
            return default

        def elsewhere(name: str) -> str | None:
            value, use = environment.get(name) or None, environment.get(f"USE_{name}") or None
            if use not in (None, "1"):
                faults.append(f"USE_{name}={use} is neither 1 nor unset: give 1, or leave it out")
            elif use is not None and value is None:
                faults.append(f"USE_{name}=1, but {name} is not set")
            elif use is None and value is not None:
                faults.append(
                    f"{name} is set, to {hosts(value)}. Nothing was done there: `make run` writes to it only when "
                    f"USE_{name}=1 says so, too. To have one started here instead: unset {name}"
                )
            return value

        auth = {name: value for name in sorted(_AUTH) if (value := environment.get(name))}
        if auth and not auth.keys() >= _AUTH - {_ROLES}:
            missing = ", ".join(sorted(_AUTH - {_ROLES} - auth.keys()))
            faults.append(f"{', '.join(auth)}, but not {missing}: tokens are demanded by all of them, or not at all")
        kafka_login: Mapping[str, str] = {}
        try:
            kafka_login = checked(environment)
        except LoginError as error:
            faults += error.faults
        if kafka_login and not environment.get("KAFKA_BOOTSTRAP_SERVERS"):
            faults.append(
                f"{', '.join(kafka_login)}, but not KAFKA_BOOTSTRAP_SERVERS: the Kafka started here takes no login. "
                "Name the one that does, or unset them"
            )
        settings = cls(
            port=port("PORT", cls.port),
            folder=folder(environment),
            mongodb_port=port("MONGODB_PORT", cls.mongodb_port),
            kafka_port=port("KAFKA_PORT", cls.kafka_port),
            sink_port=port("SINK_PORT", cls.sink_port),
            mongodb_uri=elsewhere("MONGODB_URI"),
            kafka_bootstrap_servers=elsewhere("KAFKA_BOOTSTRAP_SERVERS"),
            kafka_login=kafka_login,
            echo_logs=environment.get("LOG") == "1",
            auth=auth,
            traces=environment.get("TRACES") == "1",
            zipkin_port=port("ZIPKIN_PORT", cls.zipkin_port),
        )
        if faults:
            raise SettingsError("\n".join(faults))
        return settings

    @property
    def ports(self) -> dict[str, int]:
        """The fixed ports by their variables; not those of a MongoDB or a Kafka that runs elsewhere."""
        ports = {"PORT": self.port, "SINK_PORT": self.sink_port}
        if self.mongodb_uri is None:
            ports["MONGODB_PORT"] = self.mongodb_port
        if self.kafka_bootstrap_servers is None:
            ports["KAFKA_PORT"] = self.kafka_port
        if self.traces:
            ports["ZIPKIN_PORT"] = self.zipkin_port
        return ports

    def command(self, changed: Mapping[str, object]) -> str:
        """Return the command line that gives these settings again, but for the variables that change."""
        default = {**Settings(traces=True).ports, "LOCAL_DIR": Settings().folder}
        given: dict[str, object] = {**default, **self.ports, "LOCAL_DIR": self.folder, **changed}
        words = [
            f"{name}={shlex.quote(str(value))}"
            for name, value in given.items()
            if name in changed or value != default[name]
        ]
        for name, value in (
            ("MONGODB_URI", self.mongodb_uri),
            ("KAFKA_BOOTSTRAP_SERVERS", self.kafka_bootstrap_servers),
        ):
            if value is not None:
                secret = "@" in value  # a password is for no terminal and no log
                words += [f'{name}="${name}"' if secret else f"{name}={shlex.quote(value)}", f"USE_{name}=1"]
        for name, value in self.kafka_login.items():
            words.append(f'{name}="${name}"' if name == PASSWORD else f"{name}={shlex.quote(value)}")
        words += [f"{name}={shlex.quote(value)}" for name, value in self.auth.items()]
        switches = [*(["LOG=1"] if self.echo_logs else []), *(["TRACES=1"] if self.traces else [])]
        return " ".join([*words, *switches, "make run"])


def folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the stack that LOCAL_DIR names."""
    return Path(environment.get("LOCAL_DIR") or Settings.folder)

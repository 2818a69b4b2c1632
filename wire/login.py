"""How to log in to a Kafka: from variables of the environment to the settings of librdkafka.

The password comes by the environment alone, and no message repeats it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

PROTOCOL: Final = "KAFKA_SECURITY_PROTOCOL"
MECHANISM: Final = "KAFKA_SASL_MECHANISM"
USERNAME: Final = "KAFKA_SASL_USERNAME"
PASSWORD: Final = "KAFKA_SASL_PASSWORD"  # noqa: S105 - the name of the variable
CA: Final = "KAFKA_SSL_CA"

PROPERTIES: Final[Mapping[str, str]] = {
    PROTOCOL: "security.protocol",
    MECHANISM: "sasl.mechanism",
    USERNAME: "sasl.username",
    PASSWORD: "sasl.password",
    CA: "ssl.ca.location",
}
"""What librdkafka calls what each variable says."""

_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_CREDENTIALS: Final = (MECHANISM, USERNAME, PASSWORD)


class LoginError(ValueError):
    """The variables cannot be used; `faults` has a line for each thing that is wrong, with what to do."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def login(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a client of librdkafka is told; nothing when no variable is set. Raises LoginError."""
    return {PROPERTIES[name]: value for name, value in checked(environment).items()}


def checked(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those of the variables that are set, an empty one being none. Raises LoginError for what does not fit."""
    said = {name: value for name in PROPERTIES if (value := environment.get(name))}
    faults = [
        f"{name}={said[name]} is not known: give {_one_of(known)}"
        for name, known in ((PROTOCOL, _PROTOCOLS), (MECHANISM, _MECHANISMS))
        if said.get(name, known[0]) not in known
    ]
    protocol = said.get(PROTOCOL)
    if said and protocol is None:
        faults.append(f"{', '.join(said)}, but not {PROTOCOL}: give {_one_of(_PROTOCOLS)}")
    if protocol in _PROTOCOLS:
        wanted = _CREDENTIALS if protocol.startswith("SASL_") else ()
        used = (PROTOCOL, *wanted, *([CA] if protocol.endswith("SSL") else []))
        if missing := [name for name in wanted if name not in said]:
            faults.append(f"{PROTOCOL}={protocol}, but not {', '.join(missing)}: set what is missing, too")
        if useless := [name for name in said if name not in used]:
            faults.append(f"{PROTOCOL}={protocol} makes no use of {', '.join(useless)}: unset it, or give another one")
    if CA in said:
        said[CA] = str(Path(said[CA]).absolute())  # a process that is told may run in another folder
        try:
            Path(said[CA]).read_bytes()
        except OSError as error:
            faults.append(f"{CA}={said[CA]} cannot be read: {error.strerror}")
    if faults:
        raise LoginError(faults)
    return said


def _one_of(values: tuple[str, ...]) -> str:
    return f"{', '.join(values[:-1])} or {values[-1]}"

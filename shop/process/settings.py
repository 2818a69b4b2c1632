"""Read settings from an environment: the one place that shows what a process depends on.

Promise: a setting that cannot be right ends the process at its start, every wrong variable named. It is never found out
over a message, when money has moved already.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

T = TypeVar("T")

SERVICES = ("orders", "billing", "notify")


@dataclass(frozen=True)
class ArrayLimits:
    """Bound an array in a user document: at `limit` entries the oldest `batch` move to the archive.

    64 and 32: up to about 64 subdocuments cost nothing in an update, and half of them moved at once makes the archive a
    thirty-second of the work.
    """

    limit: int = 64
    batch: int = 32


@dataclass(frozen=True)
class Auth:
    """Whose tokens are taken, and where the keys are that verify them."""

    jwks_url: str
    """Where the issuer publishes its keys, as a JSON Web Key Set."""

    issuer: str
    """What a token's `iss` must be."""

    audience: str
    """What must be in a token's `aud`: the name of this shop at the issuer."""

    roles_claim: str = "roles"
    """Which claim holds the caller's roles; a dot leads into a claim, as in `realm_access.roles`."""


@dataclass(frozen=True)
class Webhooks:
    """Who is told of decisions. Neither an address nor a secret is ever in a text that is logged."""

    urls: tuple[str, ...] = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    """What each try is signed with: one, or two while receivers change from the one to the other."""

    private: bool = False
    """Whether they may be at private addresses, and speak plain HTTP."""


class WrongSettings(Exception):
    """The environment cannot be right; the text names every wrong variable and what it must be."""


SAMPLERS = ("always_on", "always_off", "traceidratio")


@dataclass(frozen=True)
class Traces:
    """Where spans go, and of which traces. Where exactly, and how, OpenTelemetry's exporter reads for itself."""

    service: str = "shop"
    """The name that the spans bear."""

    revision: str = ""
    """The Knative revision."""

    sampler: str = "parentbased_always_on"
    """Whether a trace is recorded."""

    ratio: float = 1.0
    """How many of the traces that begin here are, when the sampler asks for a part."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Traces | None":
        """Read what OpenTelemetry's variables say; None without an endpoint.

        A value that is wrong is as if it were not set, as OpenTelemetry has it: no process ends over it.
        """
        endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        if is_off or environment.get("OTEL_TRACES_EXPORTER") not in (None, "", "otlp"):
            return None
        if not any(environment.get(name) for name in endpoints):
            return None
        sampler = environment.get("OTEL_TRACES_SAMPLER", "").lower()
        if sampler.removeprefix("parentbased_") not in SAMPLERS:
            sampler = cls.sampler
        ratio = environment.get("OTEL_TRACES_SAMPLER_ARG", "")
        return cls(
            service=environment.get("OTEL_SERVICE_NAME")
            or environment.get("K_SERVICE")
            or environment.get("FUNCTION_TARGET")
            or cls.service,
            revision=environment.get("K_REVISION", ""),
            sampler=sampler,
            ratio=float(ratio) if re.fullmatch(r"0?\.[0-9]{1,20}|0|1(\.0+)?", ratio) else cls.ratio,
        )


@dataclass(frozen=True)
class Settings:
    """What a process was told."""

    mongodb_uri: str = "mongodb://127.0.0.1:27017/?directConnection=true"
    """The MongoDB to talk to. What the URI says of concerns, preference or time-outs is overridden in code."""

    mongodb_uris: Mapping[str, str] = field(default_factory=dict)
    """Where a service has a MongoDB of its own, for a command that reaches all three: `ORDERS_MONGODB_URI` and its
    like."""

    databases: Mapping[str, str] = field(default_factory=lambda: {service: service for service in SERVICES})
    """The database of each service; `ORDERS_DATABASE` and its like rename one."""

    mongodb_passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The passwords of the users that setup makes: `ORDERS_MONGODB_PASSWORD` and its like, and that of `audit`."""

    array_limits: ArrayLimits = ArrayLimits()
    """The bound of `paid_baskets` and `deposits`."""

    sink: str = ""
    """Where events are POSTed, as a SinkBinding injects it. Empty while the binding is not applied: the first revision
    of a Service may start before it."""

    event_overrides: Mapping[str, str] = field(default_factory=dict)
    """The CloudEvent extensions that a SinkBinding's `ceOverrides` ask every event to carry."""

    cors_origins: tuple[str, ...] = ()
    """The origins whose pages may read what an HTTP function answers, such as `https://shop.example.com`."""

    sink_token: str = "/oidc/token"  # noqa: S105 - a path
    """The file that a SinkBinding mounts when Eventing authenticates: the token to send with events. It may come later,
    or never."""

    auth: Auth | None = None
    """Whose tokens customers must send; None: everybody may act for everybody."""

    webhooks: Webhooks | None = None
    """Who is told of decisions; None: nobody."""

    function: str = "shop"
    """The function this process runs: the name in its logs and at MongoDB."""

    revision: str = ""
    """The Knative revision it is of; empty where Knative did not start it."""

    traces: Traces | None = None
    """Where spans go; None: nowhere."""

    host: str = "0.0.0.0"  # noqa: S104 - a container is reached from outside
    port: int = 8080
    """Where to listen, as Knative Serving says."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings from an environment. Raises WrongSettings, all that is wrong in one text."""
        reading = _Reading(environment)
        settings = cls(
            mongodb_uri=reading.value("MONGODB_URI", _mongodb_uri, cls.mongodb_uri),
            mongodb_uris={
                service: uri
                for service in SERVICES
                if (uri := reading.value(f"{service.upper()}_MONGODB_URI", _mongodb_uri, ""))
            },
            databases={
                service: reading.value(f"{service.upper()}_DATABASE", _database, service) for service in SERVICES
            },
            mongodb_passwords={
                user: password
                for user in (*SERVICES, "audit")
                if (password := reading.value(f"{user.upper()}_MONGODB_PASSWORD", _password, ""))
            },
            array_limits=ArrayLimits(
                limit=reading.value("ARRAY_LIMIT", _whole_number(1, 1000), ArrayLimits.limit),
                batch=reading.value("ARCHIVE_BATCH", _whole_number(1, 1000), ArrayLimits.batch),
            ),
            sink=reading.value("K_SINK", _sink, cls.sink),
            event_overrides=reading.value("K_CE_OVERRIDES", _event_overrides, {}),
            cors_origins=reading.value("CORS_ORIGINS", _origins, cls.cors_origins),
            sink_token=reading.value("SINK_TOKEN_FILE", str, cls.sink_token),
            auth=_auth(reading),
            webhooks=_webhooks(reading),
            function=reading.value("FUNCTION_TARGET", str, cls.function),
            revision=reading.value("K_REVISION", str, cls.revision),
            traces=Traces.read(environment),
            host=reading.value("HOST", str, cls.host),
            port=reading.value("PORT", _whole_number(1, 65535), cls.port),
        )
        limits = settings.array_limits
        if not reading.wrong and limits.batch > limits.limit:
            # Named together, for a limit that is set alone meets the batch that nobody set.
            reading.wrong.append(
                f"ARCHIVE_BATCH ({limits.batch}) must not be over ARRAY_LIMIT ({limits.limit}); set both"
            )
        if reading.wrong:
            raise WrongSettings("\n".join(reading.wrong))
        return settings


class _Reading:
    """Reads variables, and keeps what is wrong with them. One that is empty counts as not set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.wrong: list[str] = []

    def names(self, name: str) -> bool:
        return bool(self._environment.get(name))

    def value(self, name: str, read: Callable[[str], T], default: T) -> T:
        text = self._environment.get(name)
        if not text:
            return default
        try:
            return read(text)
        except ValueError as error:
            self.wrong.append(f"{name} {error}")
            return default


def _auth(reading: _Reading) -> Auth | None:
    """Read what belongs together: half of it would let everybody in, or nobody."""
    said = {name: reading.value(name, read, "") for name, read in _AUTH.items()}
    claim = reading.value("AUTH_ROLES_CLAIM", str, "")
    missing = [name for name in _AUTH if not reading.names(name)]
    if missing and (len(missing) < len(_AUTH) or claim):
        reading.wrong.append(f"{' and '.join(missing)} must be set too: with all of AUTH_*, tokens are demanded")
    if missing:
        return None
    return Auth(*said.values(), *([claim] if claim else []))


def _webhooks(reading: _Reading) -> Webhooks | None:
    """Read what belongs together: nothing is sent that a receiver cannot check."""
    private = reading.value("WEBHOOK_PRIVATE", _whole_number(0, 1), 0) == 1
    nobody: tuple[str, ...] = ()
    unsigned: tuple[bytes, ...] = ()
    urls = reading.value("WEBHOOK_URLS", partial(_webhook_urls, "https?" if private else "https"), nobody)
    secrets = reading.value("WEBHOOK_SECRETS", _webhook_secrets, unsigned)
    if reading.names("WEBHOOK_URLS") and not reading.names("WEBHOOK_SECRETS"):
        reading.wrong.append("WEBHOOK_SECRETS must be set too: receivers at WEBHOOK_URLS check who tells them")
    return Webhooks(urls, secrets, private) if urls and secrets else None


def _webhook_urls(schemes: str, text: str) -> tuple[str, ...]:
    urls = tuple(text.split())
    for url in urls:
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").encode("idna")
            usable = re.fullmatch(rf"{schemes}://[!-~]+", url) and host and parts.port != 0 and not parts.fragment
        except ValueError:
            usable = False
        if not usable or "@" in parts.netloc:
            # Without the address itself: many have a token in it, and the log is read by many.
            raise ValueError(
                "must be https URLs with blanks between (http too with WEBHOOK_PRIVATE=1), without a user or a fragment"
            )
    return urls


def _webhook_secrets(text: str) -> tuple[bytes, ...]:
    try:
        secrets = tuple(base64.b64decode(secret.removeprefix("whsec_"), validate=True) for secret in text.split())
    except ValueError:
        secrets = ()
    if not 1 <= len(secrets) <= 2 or not all(24 <= len(secret) <= 64 for secret in secrets):
        raise ValueError("must be one secret, or two with a blank between: whsec_ and 24 to 64 bytes in base64")
    return secrets


def _keys_url(text: str) -> str:
    try:
        url = urlsplit(text)
        host = url.hostname or ""
        usable = re.fullmatch(r"https?://[!-~]+", text) and host.encode("idna") and url.port != 0 and not url.username
    except ValueError:
        usable, host = False, ""
    if not usable:
        raise ValueError(f"must be an https URL; it is {text!r}")
    if url.scheme == "http" and not _INSIDE.fullmatch(host):
        raise ValueError(
            f"must be https: who is between could send keys of its own, and be anybody; it is {text!r} (http is for "
            "this machine and for a cluster's own names, such as keys.auth.svc)"
        )
    return text


_INSIDE = re.compile(r"localhost|127\.[0-9.]+|::1|.+\.svc(\..+)?")

_AUTH: Mapping[str, Callable[[str], str]] = {"AUTH_JWKS_URL": _keys_url, "AUTH_ISSUER": str, "AUTH_AUDIENCE": str}


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}; it is {text!r}")
        return int(text)

    return read


def _mongodb_uri(text: str) -> str:
    if text.startswith("mongodb+srv://"):
        return text  # reading it would ask the DNS
    try:
        parse_uri(text)
    except (PyMongoError, ValueError) as error:
        # Without the URI itself: it may hold a password, and the log is read by many.
        raise ValueError(f"is not a MongoDB connection string: {error}") from None
    return text


def _database(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", text):
        raise ValueError(f"must be a database name of 1 to 63 letters, digits, _ and -; it is {text!r}")
    return text


def _password(text: str) -> str:
    if not text.isprintable():
        # Without the password. A file ends with a line break, and so does a Secret that was made of one.
        raise ValueError("must be printable characters; does it end with a line break?")
    return text


def _sink(text: str) -> str:
    try:
        url = urlsplit(text)
        usable = (
            re.fullmatch(r"https?://[^\s/]+(/\S*)?", text) and (url.hostname or "").encode("idna") and url.port != 0
        )
    except ValueError:
        usable = False  # a port that is no number, an address that is none
    if not usable:
        raise ValueError(f"must be an http or https URL, as a SinkBinding injects it; it is {text!r}")
    return text


_ORIGIN = re.compile(
    r"(?!http:.*:80\Z|https:.*:443\Z)https?://(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
)
"""As a browser writes it: in lower case, a name in Punycode, no usual port, neither a path nor a slash at its end."""


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(","))
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"must be origins with commas between, as browsers send them, such as https://shop.example.com; "
                f"it has {origin!r}"
            )
    return origins


_EXTENSION_NAME = re.compile(r"[a-z0-9]{1,20}")

# Kafka's dispatcher loses, without a trace, an event with a control character in an attribute, and spoils what is not
# ASCII.
_EXTENSION_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

_OURS = frozenset({"specversion", "id", "type", "source", "subject", "time", "partitionkey", "datacontenttype"})
"""What our consumers hold an event to. An override of one of them would have every event of ours refused."""


def _event_overrides(text: str) -> dict[str, str]:
    try:
        extensions = json.loads(text).get("extensions") or {}
        overrides = {str(name): str(value) for name, value in extensions.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"is not what a SinkBinding injects: {error}") from error
    for name, value in overrides.items():
        if name in _OURS:
            raise ValueError(f"must not replace {name!r}: consumers would refuse every event; mend the SinkBinding")
        if not _EXTENSION_NAME.fullmatch(name) or not _EXTENSION_VALUE.fullmatch(value):
            raise ValueError(
                f"cannot be sent: {name!r}: {value!r}; a name has 1 to 20 characters of a-z and 0-9, a value visible "
                "ASCII"
            )
    return overrides

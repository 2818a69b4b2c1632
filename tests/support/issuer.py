"""An issuer of tokens on this machine: it signs whatever a test asks for, and publishes its keys as it is told."""

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from shop.process.settings import Auth

ISSUER = "https://issuer.example"
AUDIENCE = "shop"

HANG = "hang"
"""In place of an answer: none, until the caller is gone."""


@cache
def private_key(name: str) -> tuple[str, Any]:
    """Make a key, once for each name, and return its algorithm and itself; the name says of which kind it is."""
    match name.partition("-")[0]:
        case "rsa":
            return "RS256", rsa.generate_private_key(65537, 2048)
        case "weak":
            return "RS256", rsa.generate_private_key(65537, 1024)  # noqa: S505 - which nobody should take
        case "ec":
            return "ES256", ec.generate_private_key(ec.SECP256R1())
        case "ed":
            return "EdDSA", ed25519.Ed25519PrivateKey.generate()
    raise LookupError(name)


def public(name: str) -> dict[str, Any]:
    """Return the public part of a key, as a key set has it."""
    algorithm, key = private_key(name)
    kind = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[algorithm]
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": name, "alg": algorithm, "use": "sig"}


def pem(name: str) -> bytes:
    """Return the public part of a key, as a careless verifier would have it at hand."""
    made: bytes = private_key(name)[1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return made


def token(
    user: str | None = "Pavel", *, key: str = "rsa", header: Mapping[str, Any] | None = None, **claims: Any
) -> str:
    """Return a token of a user, good for a minute unless other claims say otherwise; what is None is left out."""
    now = int(time.time())
    usual = {"sub": user, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 60}
    payload = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    algorithm, signing = private_key(key)
    headers = {name: value for name, value in {"kid": key, **(header or {})}.items() if value is not None}
    return str(jwt.api_jws.encode(json.dumps(payload).encode(), signing, algorithm, headers=headers))


def forged(header: Mapping[str, Any], claims: Mapping[str, Any], signature: bytes = b"") -> str:
    """Put a token together without a library that would refuse to."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@dataclass
class Issuer:
    """Publishes keys over HTTP; `async with` runs it on a free port."""

    published: list[str] = field(default_factory=lambda: ["rsa", "ec", "ed"])
    """The names of the keys in its set."""

    body: bytes | str | None = None
    """What it answers in place of its set."""

    status: int = 200
    slow_s: float = 0.0
    asked: int = 0
    port: int = 0

    @property
    def auth(self) -> Auth:
        """Return the settings that trust this issuer."""
        return Auth(f"http://127.0.0.1:{self.port}/keys?v=1", ISSUER, AUDIENCE)

    async def __aenter__(self) -> Self:
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"GET /keys?v=1 HTTP/1.1\r\n"), head
            self.asked += 1
            if self.body == HANG:
                await reader.read()
                return
            await asyncio.sleep(self.slow_s)
            body = json.dumps({"keys": [public(name) for name in self.published]}).encode()
            body = body if self.body is None else str(self.body).encode()
            writer.write(f"HTTP/1.1 {self.status} Whatever\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            self._writers.discard(writer)
            writer.close()

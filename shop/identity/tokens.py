"""Verify the token of a request: a JSON Web Token, signed by an issuer whose keys are fetched.

Promise: no caller without a token whose signature fits a key of the issuer, by one of three algorithms of public keys,
and whose time, issuer and audience are right. What cannot be told is Unavailable, never a caller.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    MissingRequiredClaimError,
)

from shop.errors import Code, Unauthenticated
from shop.identity.caller import ADMIN, Caller
from shop.identity.keys import ALGORITHMS, Keys
from shop.process import process

LEEWAY_S = 10
"""How far the issuer's clock may be from ours."""

MAX_TOKEN = 8 * 1024
"""The longest token, in bytes; one with many roles has 2 KiB."""

_BEARER = re.compile(r"bearer +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*) *", re.IGNORECASE)


async def identify(sent: Sequence[str]) -> Caller:
    """Return who sent these headers `Authorization`.

    Raises Unauthenticated for anything but one good token, Unavailable when the keys are not at hand.
    """
    auth = process.current().settings.auth
    if auth is None:
        raise TypeError("no tokens are demanded, so nobody's can be verified")
    token = _token(sent)
    header = _header(token)
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS.values():
        raise _invalid(f"it must be signed with one of {', '.join(ALGORITHMS.values())}")
    if not isinstance(key_id, str):
        raise _invalid("it names no key (kid)")
    key = await process.current().once(Keys).find(key_id, algorithm)
    if key is None:
        raise _invalid("its issuer has no such key for this algorithm")
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=auth.audience,
            issuer=auth.issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "aud", "iss", "sub"]},
        )
    except _UNREADABLE as error:
        raise _refusal(error) from error
    return Caller(claims["sub"], ADMIN in _roles(claims, auth.roles_claim))


def _token(sent: Sequence[str]) -> str:
    if not sent:
        raise Unauthenticated(Code.TOKEN_MISSING, "send the header Authorization: Bearer <token>; nothing was done")
    if len(sent) > 1:
        raise _invalid("there are two headers Authorization; send one")
    if len(sent[0]) > MAX_TOKEN:
        raise _invalid(f"it is over {MAX_TOKEN} bytes")
    match = _BEARER.fullmatch(sent[0])
    if match is None and sent[0][:6].lower() != "bearer":
        raise Unauthenticated(
            Code.TOKEN_MISSING, "the header Authorization has no Bearer token; send Authorization: Bearer <token>"
        )
    if match is None:
        raise _invalid("it is no JSON Web Token")
    return match[1]


_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What reading a token may raise, a signed one too: a time that is no number, or JSON that is too deep."""


def _header(token: str) -> Mapping[str, Any]:
    try:
        header: Mapping[str, Any] = jwt.get_unverified_header(token)
    except _UNREADABLE as error:
        raise _invalid("it cannot be read") from error
    return header


def _refusal(error: Exception) -> Unauthenticated:
    match error:
        case ExpiredSignatureError():
            return Unauthenticated(
                Code.TOKEN_EXPIRED, "the token has expired; nothing was done: send the same request with a new one"
            )
        case InvalidAudienceError():
            return _invalid("it is for another audience (aud)")
        case InvalidIssuerError():
            return _invalid("it is of another issuer (iss)")
        case ImmatureSignatureError():
            return _invalid("it is not valid yet (nbf or iat)")
        case InvalidSignatureError():
            return _invalid("its signature does not fit its key")
        case MissingRequiredClaimError(claim=claim):
            return _invalid(f"it has no claim {claim}")
    return _invalid("it cannot be read")


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated(Code.TOKEN_INVALID, f"the token is refused: {why}; nothing was done")


def _roles(claims: Mapping[str, Any], name: str) -> Sequence[str]:
    """Return the roles in a token: a list, or words; the claim's name may lead into another, with dots."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for step in name.split("."):
            found = found.get(step) if isinstance(found, dict) else None
    if isinstance(found, str):
        return found.split()
    return [role for role in found if isinstance(role, str)] if isinstance(found, list) else []

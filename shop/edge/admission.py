"""Let in who may make a call, where tokens are demanded: what HTTP says of `shop.identity`.

Events and ticks bring no token: a KafkaSource has none of ours, and consumers are reached from inside the cluster only.
"""

import logging
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from shop.edge.asgi import Request
from shop.errors import Code
from shop.identity.caller import Caller
from shop.process import process

_log = logging.getLogger(__name__)

_CHALLENGES: Mapping[Code, str] = {
    Code.TOKEN_INVALID: ', error="invalid_token"',
    Code.TOKEN_EXPIRED: ', error="invalid_token", error_description="expired"',
    Code.OTHER_USER: ', error="insufficient_scope"',
    Code.ADMINS_ONLY: ', error="insufficient_scope"',
}
"""The words of RFC 6750 for our codes; a request without a token gets none."""


def prepare() -> None:
    """Import what verifies tokens before one comes; or say that none is looked at."""
    if process.current().settings.auth is None:
        _log.info("no token is demanded: whoever reaches this function acts for any user; AUTH_* would change that")
    else:
        import_module("shop.identity.tokens")


async def identify(request: Request) -> Caller:
    """Return whose token came with a request; only where tokens are demanded.

    Raises Unauthenticated for anything but one good token, Unavailable when that cannot be told.
    """
    # Here, for what is behind it takes as long as a third of a cold start: only who demands tokens waits for it.
    from shop.identity import tokens

    return await tokens.identify(request.headers(b"authorization"))


def user_of(message: Any) -> str | None:
    """Return the user that a request is about; None: it is about everybody."""
    field = message.DESCRIPTOR.fields_by_name.get("user")
    if field is None or (field.has_presence and not message.HasField("user")):
        return None
    return str(message.user)


def challenge(code: Code) -> str:
    """Return the header `WWW-Authenticate` of a refusal."""
    return f'Bearer realm="shop"{_CHALLENGES.get(code, "")}'

"""Say what a caller may do: one rule for all calls, of which each label names one of two kinds."""

import logging
from dataclasses import dataclass
from typing import Literal

from shop.errors import Code, Forbidden

_log = logging.getLogger(__name__)

ADMIN = "admin"
"""The role that may do everything."""

Needs = Literal["user", "admin"]
"""Who may make a call: the user whom the request names, or an admin only. An admin may act for any user."""


@dataclass(frozen=True)
class Caller:
    """Whose token came with a request."""

    user: str
    is_admin: bool

    def check(self, needs: Needs, user: str | None) -> None:
        """Make sure that a call about a user (None: about all of them) may be made. Raises Forbidden when not."""
        if self.is_admin:
            if user != self.user:
                _log.info("%.128s, an admin, acts for %s", self.user, user or "everybody")
            return
        if needs == "admin":
            raise Forbidden(Code.ADMINS_ONLY, f"this call needs the role {ADMIN}; nothing was done")
        if user is None:
            raise Forbidden(
                Code.ADMINS_ONLY,
                f"without a user this is about everybody, which needs the role {ADMIN}; send your user",
            )
        if user != self.user:
            raise Forbidden(Code.OTHER_USER, "the token is another user's; nothing was done")

"""Say what kind of failure it is, one that can never work or one to try again later, and which one, by a stable code.

Only the edges (`shop.edge.http`, `shop.edge.events`) answer with them. Whatever is none of these, a bug, is answered
500, which KafkaSource retries and a log shows: unplanned is never lost.
"""

from enum import Enum


class Rejected(Exception):
    """Refuse for good: as it stands it can never work. The text says what is wrong and what to do."""

    def __init__(self, code: "Code", message: str) -> None:
        super().__init__(message)
        self.code = code


class Malformed(Rejected):
    """Refuse what cannot be read: not JSON, a field missing or of the wrong type."""


class TooLarge(Rejected):
    """Refuse a body over the limit, unread."""


class Unauthenticated(Rejected):
    """Refuse a request that does not say who calls, or does not prove it."""


class Forbidden(Rejected):
    """Refuse what this caller may not do."""


class NotFound(Rejected):
    """Refuse to act on a user or basket that does not exist, or belongs to somebody else."""


class Impossible(Rejected):
    """Refuse a value of the right type that can never be valid."""


class Contradiction(Rejected):
    """Refuse what contradicts the state: the same key with other content, or what cannot have happened yet.

    Between functions it means a forged or edited event, or a database restored from an older backup.
    """


class Unavailable(Exception):
    """Give up for now; what happened is unknown. The code says whether the same request may be sent again by itself."""

    def __init__(self, code: "Code", message: str) -> None:
        super().__init__(message)
        self.code = code


_MENDED = (False, True)
"""Not until its cause is mended, and then with the same key."""

_ANOTHER = (False, False)
"""Not as it is, and not with the same key."""

_LATER = (True, True)
"""The same request, a little later."""


class Code(Enum):
    """What a program tells failures apart by: the name, in lower case. It stays for good; new ones may come.

    Each has an underscore, so that no other word at the beginning of a text is taken for one.
    """

    # Requests that cannot be read.
    MALFORMED_REQUEST = Malformed, 400, _MENDED, "The body is not a whole JSON object, or the query is not UTF-8."
    MISSING_FIELD = Malformed, 400, _MENDED, "A required field is missing or null."
    UNKNOWN_FIELD = Malformed, 400, _MENDED, "A POST has a field that the call does not know."
    WRONG_TYPE = Malformed, 400, _MENDED, "A field is of another JSON type."
    FIELD_TWICE = Malformed, 400, _MENDED, "A field is sent twice, or differs between query and body."
    FIELD_MISPLACED = Malformed, 400, _MENDED, "A field of a POST, or its key, is in the query."
    HEADER_MISSPELT = Malformed, 400, _MENDED, "A header looks like `Idempotency-Key` and is not."
    METHOD_NOT_ALLOWED = None, 405, _MENDED, "The call has another method."
    BODY_TOO_LARGE = TooLarge, 413, _MENDED, "The body is over 64 KiB."
    # Requests of somebody who may not make them, where tokens are demanded.
    TOKEN_MISSING = Unauthenticated, 401, _MENDED, "There is no `Authorization: Bearer <token>`."
    TOKEN_INVALID = Unauthenticated, 401, _MENDED, "The token is not one that this shop takes; the message says why."
    TOKEN_EXPIRED = Unauthenticated, 401, _MENDED, "The token's time is over: send the same request with a new one."
    OTHER_USER = Forbidden, 403, _MENDED, "The token is another user's, and not an admin's."
    ADMINS_ONLY = Forbidden, 403, _MENDED, "The call, or what it leaves out, needs the role `admin`."
    # Requests that the state or the contract refuses.
    UNKNOWN_USER = NotFound, 404, _MENDED, "There is no such user."
    UNKNOWN_BASKET = NotFound, 404, _MENDED, "This user has no such basket."
    IMPOSSIBLE_VALUE = Impossible, 422, _MENDED, "A value is of the right type, and can never be valid."
    BALANCE_FULL = Impossible, 422, _MENDED, "The balance would pass 2^53 - 1."
    OTHER_TERMS = Contradiction, 422, _MENDED, "This attempt was ordered with another sum; that order stands."
    ATTEMPT_AHEAD = Contradiction, 422, _ANOTHER, "This attempt is ahead of the basket; the message names the next one."
    KEY_REUSED = Contradiction, 422, _ANOTHER, "This `Idempotency-Key` deposited another sum; that deposit stands."
    # Events.
    NOT_AN_EVENT = Malformed, 422, _MENDED, "It is not a CloudEvent of ours, or its data cannot be read."
    WRONG_EVENT = Impossible, 422, _MENDED, "No honest event has this type, source, id or value."
    OLDER_EPOCH = Contradiction, 422, _MENDED, "Emitted before a restore; what is still open is asked for again."
    NOT_ITS_TURN = Contradiction, 422, _MENDED, "The attempt comes too early: the one before it was not declined."
    OTHER_CONTENT = Contradiction, 422, _MENDED, "This attempt is stored with other content, or another outcome."
    BASKET_MISSING = Contradiction, 422, _MENDED, "The decision is about a basket that its user does not have."
    RESTORED_ALONE = Contradiction, 422, _MENDED, "Orders was restored from an older backup than billing."
    NEWER_EPOCH = Unavailable, 503, _LATER, "The process is left over from before a restore of the databases."
    NEWER_CONTENT = Unavailable, 503, _LATER, "Only a newer version of the function knows this event."
    # Not now.
    KEYS_UNAVAILABLE = Unavailable, 503, _LATER, "The keys of tokens could not be fetched; nothing was done."
    DATABASE_UNAVAILABLE = Unavailable, 503, _LATER, "MongoDB did not answer in time; it may have been done."
    DEADLINE_PASSED = Unavailable, 503, _LATER, "The function's time was over; it may have been done."
    BODY_LATE = Unavailable, 503, _LATER, "The body did not come in time; nothing was done."
    TOO_MANY_UPDATES = Unavailable, 503, _LATER, "Too many concurrent updates of the same data; nothing was done."
    SINK_UNAVAILABLE = Unavailable, 503, _LATER, "The event may not have reached Kafka; the effect is stored."
    SINK_MISSING = Unavailable, 503, _MENDED, "The function's SinkBinding is not applied; nothing was done."
    NOT_SET_UP = Unavailable, 503, _MENDED, "Indexes are missing: run `python -m shop.setup`; nothing was done."
    HISTORY_INCOMPLETE = Unavailable, 503, _MENDED, "The archive does not fit the account: somebody has to mend it."
    OUTCOME_UNKNOWN = Unavailable, 503, _ANOTHER, "A deposit without a key may have been made: look at GET /GetUser."
    WEBHOOK_NOT_TAKEN = Unavailable, 503, _LATER, "A receiver of webhooks did not take it; it is sent again."
    INTERNAL_ERROR = None, 500, _MENDED, "A bug; it may have been done, and it is logged."

    def __init__(
        self, kind: type[Rejected | Unavailable] | None, status: int, again: tuple[bool, bool], meaning: str
    ) -> None:
        self.kind = kind
        """None for what nobody raises: the edge answers it by itself."""

        self.status = status
        """What an HTTP function answers. A consumer answers 422 for each 4xx: KafkaSource would repeat some of them."""

        self.retryable, self.same_key = again
        """Whether the same request may well be done a little later, and is never done twice; and whether the next one
        for the same purpose carries the same key, which is `attempt` or `Idempotency-Key`."""

        self.meaning = meaning

    def __str__(self) -> str:
        return self.name.lower()

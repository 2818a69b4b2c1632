"""Say what kind of failure it is: one that can never work, or one to try again later.

Only the edges (`shop.edge.http`, `shop.edge.events`) turn a kind into a status code. Whatever is neither of these, a
bug, is answered 500, which KafkaSource retries and a log shows: unplanned is never lost.
"""


class Rejected(Exception):
    """Refuse for good: as it stands it can never work. The text says what is wrong and what to do."""


class Malformed(Rejected):
    """Refuse what cannot be read: not JSON, a field missing or of the wrong type."""


class TooLarge(Rejected):
    """Refuse a body over the limit, unread."""


class NotFound(Rejected):
    """Refuse to act on a user or basket that does not exist, or belongs to somebody else."""


class Impossible(Rejected):
    """Refuse a value of the right type that can never be valid."""


class Contradiction(Rejected):
    """Refuse what contradicts the state: the same key with other content, or what cannot have happened yet.

    Between functions it means a forged or edited event, or a database restored from an older backup.
    """


class Unavailable(Exception):
    """Give up for now; what happened is unknown. `repeat_safe` promises that the same request may be sent again."""

    def __init__(self, message: str, *, repeat_safe: bool = True) -> None:
        super().__init__(message)
        self.repeat_safe = repeat_safe

"""The protocol, executable: what one function does to one document, in one atomic step.

Each rule is told in prose first; the code below it is that prose. Nothing here knows of time, networks or crashes:
`world` decides what happens when, `promises` what must hold all the while.

One user is modelled. Every document and every event belongs to one user and no rule looks at two, so the histories of
several users are interleavings of histories of one.
"""

from enum import Enum
from typing import Literal, NamedTuple

Outcome = Literal["paid", "insufficient funds", "unknown user"]  # a decline is told by its reason


class Mutation(Enum):
    """A rule of the protocol left out, to see which promise then breaks."""

    NO_STICKY_DECLINE = "a decision does not look at `declined`"
    NO_ATTEMPT_IN_SETTLEMENT = "settlement does not compare attempts"
    CHARGE_BEFORE_REMEMBER = "the balance falls in one update, `paid_baskets` grows in the next"
    ARCHIVED_THROUGH_NOT_RAISED = "the pull does not raise `archived_through`"
    PULL_BEFORE_INSERT = "entries are pulled before they are in the archive"
    PULL_UNCONDITIONAL = "the pull does not ask that the archived count is as read"
    OUTCOME_BY_ABSENCE = "group commit reads 'not in paid_baskets' as declined"
    OLDER_ATTEMPT_EMITTED = "an older attempt is answered with the reason stored by now"
    RESEND_WITHOUT_MAJORITY = "resend emits what it reads before it is durable"
    DECISION_WITHOUT_MAJORITY = "a decision is emitted before it is durable"
    NO_RESEND = "nothing emits again what was lost"
    POST_WITHOUT_ATTEMPT = "clients do not send the attempt they mean"
    CREATE_USER_REPLACES_STUB = "CreateUser writes a new document over a stub"
    NEXT_BASKET_EARLY = "GetBasket makes the next basket before the highest is paid"
    DEPOSIT_UNCONDITIONAL = "a deposit does not ask that `archived.deposits` is as seen"


class Payment(NamedTuple):
    """What PaymentRequested asks for; also an entry of `paid_baskets`, and of its archive."""

    number: int
    attempt: int
    sum: int

    def __str__(self) -> str:
        return f"{self.number}.{self.attempt} (sum {self.sum})"


class Decision(NamedTuple):
    """What PaymentDecided tells; also what `declined` remembers."""

    number: int
    attempt: int
    sum: int
    outcome: Outcome

    def __str__(self) -> str:
        return f"{self.number}.{self.attempt} (sum {self.sum}): {self.outcome}"


class Basket(NamedTuple):
    """A document of `orders.baskets`; its number is its place in the tuple of baskets."""

    status: Literal["open", "ordered", "paid"] = "open"
    attempt: int = 0
    sum: int = 0
    reason: Outcome | None = None


class Deposit(NamedTuple):
    """An entry of `deposits`, and of its archive; a deposit without a key is one with a fresh key."""

    key: int
    sum: int

    def __str__(self) -> str:
        return f"{self.sum} under key {self.key}"


class User(NamedTuple):
    """A document of `billing.users`. Without balance it is a stub, and an empty stub is as good as none."""

    balance: int | None = None
    paid_baskets: tuple[Payment, ...] = ()
    archived_through: int = 0
    archived_paid: int = 0
    declined: Decision | None = None
    deposits: tuple[Deposit, ...] = ()
    archived_deposits: int = 0
    archived_deposited: int = 0


class Billing(NamedTuple):
    """The billing database, and two ledgers that no function reads: they are what really happened to the money."""

    user: User = User()
    paid_archive: tuple[Payment, ...] = ()
    deposit_archive: tuple[Deposit, ...] = ()
    decisions: tuple[Decision, ...] = ()
    credits: tuple[Deposit, ...] = ()


class Refusal(Enum):
    """An event answered without a word to emit."""

    OLDER = "200, an older attempt"
    CONTRADICTION = "422"


class Answer(NamedTuple):
    """What POST /Order says, and of which attempt."""

    says: Literal["ordered", "declined", "paid", "contradiction"]
    attempt: int

    def __str__(self) -> str:
        return f"{self.says} (attempt {self.attempt})"


def order(basket: Basket, attempt: int | None, sum_: int) -> tuple[Answer, Basket]:
    """Answer POST /Order for a basket that is there.

    Open, and the attempt is the next one or not sent: ordered. Otherwise the basket stays as it is. An attempt before
    the stored one was declined, whatever its sum; a later one is a contradiction; the stored one with another sum is a
    contradiction, and with the same sum a replay of what became of it.
    """
    if basket.status == "open" and attempt in (None, basket.attempt + 1):
        return Answer("ordered", basket.attempt + 1), Basket("ordered", basket.attempt + 1, sum_)
    if attempt is not None and attempt < basket.attempt:
        return Answer("declined", attempt), basket
    if attempt not in (None, basket.attempt) or sum_ != basket.sum:
        return Answer("contradiction", basket.attempt), basket
    return Answer("declined" if basket.status == "open" else basket.status, basket.attempt), basket


def recall(billing: Billing, asked: Payment, mutation: Mutation | None = None) -> Decision | Refusal | None:
    """Tell what the user document says of (basket, attempt); None when it says nothing.

    The first that fits: the basket is in `paid_baskets`; its number is at most `archived_through`, so that it is in the
    archive; `declined` is this basket, at this attempt or a later one. The same attempt with the same sum is answered
    as stored. An older attempt is answered with silence, for a later one exists only after its decision was consumed.
    """
    user = billing.user
    paid = [entry for entry in user.paid_baskets if entry.number == asked.number]
    if not paid and asked.number <= user.archived_through:
        # Looking at once is the worst case: the archive only grows, so whatever is found now is found later.
        paid = [entry for entry in billing.paid_archive if entry.number == asked.number]
        if not paid:
            return Refusal.CONTRADICTION
    if paid:
        stored = Decision(*paid[0], "paid")
    elif user.declined and user.declined.number == asked.number and asked.attempt <= user.declined.attempt:
        stored = user.declined
    else:
        return None
    if asked.attempt < stored.attempt:
        return Decision(*asked, stored.outcome) if mutation is Mutation.OLDER_ATTEMPT_EMITTED else Refusal.OLDER
    return stored if asked == stored[:3] else Refusal.CONTRADICTION


def decide(billing: Billing, asked: Payment, mutation: Mutation | None = None) -> Billing:
    """Charge or decline, unless the document says something of (basket, attempt) already.

    Balance enough: subtract and append. Else remember the decline: insufficient funds, or unknown user when there is no
    balance. The outcome is what `recall` then says of the returned document.
    """
    known = recall(billing, asked)
    if mutation is Mutation.NO_STICKY_DECLINE and isinstance(known, Decision) and known.outcome != "paid":
        known = None
    if known is not None:
        return billing
    user = billing.user
    if user.balance is not None and user.balance >= asked.sum:
        remembered = () if mutation is Mutation.CHARGE_BEFORE_REMEMBER else (asked,)
        user = user._replace(balance=user.balance - asked.sum, paid_baskets=user.paid_baskets + remembered)
        return billing._replace(user=user, decisions=(*billing.decisions, Decision(*asked, "paid")))
    declined = Decision(*asked, "unknown user" if user.balance is None else "insufficient funds")
    # Declining again, as a mutation may, is the same decision; charging again is another charge.
    decisions = billing.decisions if declined in billing.decisions else (*billing.decisions, declined)
    return billing._replace(user=user._replace(declined=declined), decisions=decisions)


def settle(basket: Basket, decision: Decision, mutation: Mutation | None = None) -> Basket | Refusal:
    """Settle a basket that is ordered at this attempt with this sum: paid, or open again with the reason.

    An older attempt changes nothing, nor does the same outcome again. A later attempt, another sum and the other
    outcome are contradictions.
    """
    settled = Basket("paid" if decision.outcome == "paid" else "open", *decision[1:3])
    if decision.outcome != "paid":
        settled = settled._replace(reason=decision.outcome)
    if mutation is Mutation.NO_ATTEMPT_IN_SETTLEMENT and basket.status == "ordered":
        return settled._replace(attempt=basket.attempt)
    if decision.attempt < basket.attempt:
        return Refusal.OLDER
    if decision[1:3] != (basket.attempt, basket.sum):
        return Refusal.CONTRADICTION
    return settled if basket.status == "ordered" or basket == settled else Refusal.CONTRADICTION


def create_user(user: User, mutation: Mutation | None = None) -> User:
    """Give the user a balance of 0 unless there is one; what a stub remembers stays."""
    if user.balance is not None:
        return user
    return User(balance=0) if mutation is Mutation.CREATE_USER_REPLACES_STUB else user._replace(balance=0)


def deposit(
    billing: Billing, asked: Deposit, seen: int, mutation: Mutation | None = None
) -> tuple[Literal["credited", "replayed", "contradiction", "look again", "unknown user"], Billing]:
    """Credit a deposit once per key, on the condition that `archived_deposits` is the count seen.

    Its key is in `deposits`: replayed, or a contradiction for another sum. The count differs: nothing changes, and the
    key is looked up in the archive; not there, the update is to be tried again with the new count.
    """
    user = billing.user
    if user.balance is None:
        return "unknown user", billing
    moved = seen != user.archived_deposits and mutation is not Mutation.DEPOSIT_UNCONDITIONAL
    for entry in (*user.deposits, *(billing.deposit_archive if moved else ())):
        if entry.key == asked.key:
            return "replayed" if entry == asked else "contradiction", billing
    if moved:
        return "look again", billing
    user = user._replace(balance=user.balance + asked.sum, deposits=(*user.deposits, asked))
    return "credited", billing._replace(user=user, credits=(*billing.credits, asked))


class MovePaid(NamedTuple):
    """The oldest paid baskets on their way to the archive, and `archived_through` as it was read."""

    entries: tuple[Payment, ...]
    seen: int

    @classmethod
    def due(cls, user: User, limit: int) -> "MovePaid | None":
        """Take the older half, at least one entry, of an array of `limit` entries or more."""
        half = max(1, limit // 2)
        return cls(user.paid_baskets[:half], user.archived_through) if len(user.paid_baskets) >= limit else None

    def insert(self, billing: Billing) -> Billing:
        """Insert the entries in the archive; again is the same."""
        return billing._replace(paid_archive=tuple(sorted({*billing.paid_archive, *self.entries})))

    def pull(self, billing: Billing, mutation: Mutation | None = None) -> Billing:
        """Pull the entries, `archived_through` and the archived sum rising in the same update.

        Only while `archived_through` is as read: who comes second changes nothing.
        """
        user = billing.user
        if user.archived_through != self.seen and mutation is not Mutation.PULL_UNCONDITIONAL:
            return billing
        raised = mutation is not Mutation.ARCHIVED_THROUGH_NOT_RAISED
        pulled = user._replace(
            paid_baskets=tuple(entry for entry in user.paid_baskets if entry not in self.entries),
            archived_through=self.entries[-1].number if raised else user.archived_through,
            archived_paid=user.archived_paid + sum(entry.sum for entry in self.entries),
        )
        return billing._replace(user=pulled)

    def __str__(self) -> str:
        return "paid baskets " + ", ".join(map(str, self.entries))


class MoveDeposits(NamedTuple):
    """The oldest deposits on their way to the archive, and `archived_deposits` as it was read."""

    entries: tuple[Deposit, ...]
    seen: int

    @classmethod
    def due(cls, user: User, limit: int) -> "MoveDeposits | None":
        """Take the older half, at least one entry, of an array of `limit` entries or more."""
        half = max(1, limit // 2)
        return cls(user.deposits[:half], user.archived_deposits) if len(user.deposits) >= limit else None

    def insert(self, billing: Billing) -> Billing:
        """Insert the entries in the archive; again is the same."""
        return billing._replace(deposit_archive=tuple(sorted({*billing.deposit_archive, *self.entries})))

    def pull(self, billing: Billing, mutation: Mutation | None = None) -> Billing:
        """Pull the entries, `archived_deposits` and the archived sum rising in the same update; conditional, too."""
        user = billing.user
        if user.archived_deposits != self.seen and mutation is not Mutation.PULL_UNCONDITIONAL:
            return billing
        pulled = user._replace(
            deposits=tuple(entry for entry in user.deposits if entry not in self.entries),
            archived_deposits=user.archived_deposits + len(self.entries),
            archived_deposited=user.archived_deposited + sum(entry.sum for entry in self.entries),
        )
        return billing._replace(user=pulled)

    def __str__(self) -> str:
        return "deposits " + ", ".join(map(str, self.entries))

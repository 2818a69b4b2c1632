"""The protocol, executable: what one function does to one document, in one atomic step.

Each rule is told in prose first; the code below it is that prose. Nothing here knows of time, networks, crashes or
restores: `world` decides what happens when, `promises` what must hold all the while.

One user is modelled. Every document and every event belongs to one user and no rule looks at two, so the histories of
several users are interleavings of histories of one. That holds for restores too: a backup and a restore are steps that
all users have in common, the epoch is nobody's, and a promise that breaks, breaks for one user. Leave the steps of all
others out, and what is left is a history of that user alone, with the same restores.

Written apart from the code on purpose: it imports nothing of shop, neither the terms of an order nor the statuses, so a
mistake in those cannot be in both. What changes the protocol is written here a second time.
"""

from enum import Enum
from typing import Any, Literal, NamedTuple, TypeVar

Outcome = Literal["paid", "insufficient funds", "unknown user"]  # a decline is told by its reason
Array = Literal["paid_baskets", "deposits"]


class Mutation(Enum):
    """A rule of the protocol left out, to see which promise then breaks."""

    NO_STICKY_DECLINE = "a decision does not look at `declined`"
    NO_ATTEMPT_IN_SETTLEMENT = "settlement does not compare attempts"
    CHARGE_BEFORE_REMEMBER = "the balance falls in one update, `paid_baskets` grows in the next"
    ABSENCE_BY_MAXIMUM = "a number up to `archived_through` that is not in the archive is refused"
    DECISION_UNCONDITIONAL = "a decision after a look in the archive does not ask that the count is as seen"
    DEPOSIT_UNCONDITIONAL = "a deposit does not ask that the count is as seen"
    COMPLETENESS_NOT_ASKED = "what is not in the archive counts as new, however much the archive lacks"
    AHEAD_COUNTS = "what is in the archive counts as moved, even when the account did not move it"
    MOVE_INTO_INCOMPLETE = "entries are moved to an archive that lacks some"
    ARCHIVED_THROUGH_NOT_RAISED = "the pull does not raise `archived_through`"
    PULL_BEFORE_INSERT = "entries are pulled before they are in the archive"
    PULL_UNCONDITIONAL = "the pull does not ask that the count is as read"
    PULL_GUARDED_BY_MAXIMUM = "the pull of paid baskets asks that `archived_through` is as read, not the count"
    NO_SUCCESSOR_RULE = "an attempt is decided for the first time whatever was decided of the basket before"
    OUTCOME_BY_ABSENCE = "group commit reads 'not in paid_baskets' as declined"
    OLDER_ATTEMPT_EMITTED = "an older attempt is answered with the reason stored by now"
    RESEND_WITHOUT_MAJORITY = "resend emits what it reads before it is durable"
    DECISION_WITHOUT_MAJORITY = "a decision is emitted before it is durable"
    NO_RESEND = "nothing emits again what was lost"
    POST_WITHOUT_ATTEMPT = "clients do not send the attempt they mean"
    CREATE_USER_REPLACES_STUB = "CreateUser writes a new document over a stub"
    NEXT_BASKET_EARLY = "GetBasket makes the next basket before the highest is paid"
    BILLING_HEARS_THE_PAST = "billing_handler does not compare epochs"
    ORDERS_HEARS_THE_PAST = "order_handler does not compare epochs"
    NOTIFY_HEARS_THE_PAST = "notify_handler does not compare epochs"
    EPOCH_NOT_EMITTED = "events do not carry the new epoch"
    EPOCH_NOT_RAISED = "functions start after a restore without a new epoch"
    EPOCH_BY_COUNTING = "the new epoch is the highest that is stored, plus 1"
    OLD_PROCESS_WRITES = "functions outlive the restore and can still write"
    REPAIR_ASKS_AGAIN = "a repair asks for the payment of whatever billing knows no decision of"
    OLDER_ATTEMPT_SILENT = "an older attempt is answered with silence, even when it was ordered in a later epoch"


class Name(NamedTuple):
    """The id of a basket. After a restore another basket may get a number that was given before, but never an id."""

    number: int
    made: int = 0
    """How many restores there were when it was made."""

    def __str__(self) -> str:
        return str(self.number) + "'" * self.made


class Payment(NamedTuple):
    """What PaymentRequested asks for; also an entry of `paid_baskets`, and of its archive."""

    basket: Name
    attempt: int
    sum: int
    epoch: int = 0

    def __str__(self) -> str:
        return f"{self.basket}.{self.attempt} (sum {self.sum}{_of(self.epoch)})"


class Decision(NamedTuple):
    """What PaymentDecided tells; also what `declined` remembers."""

    basket: Name
    attempt: int
    sum: int
    outcome: Outcome
    epoch: int = 0

    def __str__(self) -> str:
        return f"{self.basket}.{self.attempt} (sum {self.sum}{_of(self.epoch)}): {self.outcome}"


def _of(epoch: int) -> str:
    return f", epoch {epoch}" if epoch else ""


class Basket(NamedTuple):
    """A document of `orders.baskets`."""

    name: Name
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


class Moved(NamedTuple):
    """What an account says of an archive: how many entries were moved there, and their sum."""

    entries: int = 0
    sum: int = 0


class Archived(NamedTuple):
    """What an account says of both archives."""

    paid_baskets: Moved = Moved()
    deposits: Moved = Moved()


class User(NamedTuple):
    """A document of `billing.users`. Without balance it is a stub, and an empty stub is as good as none."""

    balance: int | None = None
    paid_baskets: tuple[Payment, ...] = ()
    deposits: tuple[Deposit, ...] = ()
    declined: Decision | None = None
    archived: Archived = Archived()
    archived_through: int = 0


class Kept(NamedTuple):
    """An entry in its archive, under the position that its move gave it: 1, 2, 3."""

    position: int
    entry: Payment | Deposit


class Billing(NamedTuple):
    """The billing database, and two ledgers that no function reads: they are what really happened to the money.

    A restore of the database restores the ledgers: the money of the lost time came back, or went, with it.
    """

    user: User = User()
    paid_baskets: tuple[Kept, ...] = ()
    deposits: tuple[Kept, ...] = ()
    decisions: tuple[Decision, ...] = ()
    credits: tuple[Deposit, ...] = ()


class Refusal(Enum):
    """An event, or a deposit, answered without a word to emit."""

    OLDER = "200, an older attempt"
    CONTRADICTION = "422"
    INCOMPLETE = "503, and an error log: account and archive are of different moments"
    LOOK_AGAIN = "to look again: it is not in the archive as of this count"

    def __str__(self) -> str:
        return self.value


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
        return Answer("ordered", basket.attempt + 1), Basket(basket.name, "ordered", basket.attempt + 1, sum_)
    if attempt is not None and attempt < basket.attempt:
        return Answer("declined", attempt), basket
    if attempt not in (None, basket.attempt) or sum_ != basket.sum:
        return Answer("contradiction", basket.attempt), basket
    return Answer("declined" if basket.status == "open" else basket.status, basket.attempt), basket


Entry = TypeVar("Entry", Payment, Deposit, Basket)


def find(entries: tuple[Entry, ...], key: object) -> Entry | None:
    """Return the entry with a key: a basket by its name, a deposit by its key."""
    for entry in entries:
        if entry[0] == key:
            return entry
    return None


def look(
    billing: Billing, array: Array, key: object, mutation: Mutation | None
) -> "Payment | Deposit | Refusal | None":
    """Return an entry of an archive.

    At a position above the account's count, and not in the array, it is of a time that the account does not know: the
    account is older than the archive, and of what is there nothing is certain.
    """
    kept = next((kept for kept in getattr(billing, array) if kept.entry[0] == key), None)
    if kept is None:
        return None
    ahead = kept.position > getattr(billing.user.archived, array).entries and mutation is not Mutation.AHEAD_COUNTS
    return Refusal.INCOMPLETE if ahead else kept.entry


def lacks_entries(billing: Billing, array: Array) -> bool:
    """Tell whether an archive is older than the account: the entry is missing whose position is the account's count."""
    count: int = getattr(billing.user.archived, array).entries
    return count > 0 and all(kept.position != count for kept in getattr(billing, array))


def stored_decisions(billing: Billing) -> list[Decision]:
    """Return what a repair sends again: every decision that billing has stored."""
    paid = [*billing.user.paid_baskets, *(kept.entry for kept in billing.paid_baskets)]
    told = {Decision(*entry[:3], "paid", entry.epoch) for entry in paid if isinstance(entry, Payment)}
    return sorted(told | ({billing.user.declined} if billing.user.declined else set()))


def recall(
    billing: Billing, asked: Payment, seen: int = 0, mutation: Mutation | None = None
) -> Decision | Refusal | None:
    """Tell what billing knows of (basket, attempt); None when it knows nothing.

    The first that fits: the basket is in `paid_baskets`; its number is at most `archived_through`, the archive has
    changed since its count was `seen`, and the basket is in it; `declined` is this basket, at this attempt or a later
    one. The same attempt with the same sum is answered as stored. An older attempt is answered with silence, for a
    later one exists only after its decision was consumed. An older one that was ordered in a later epoch than that
    decision is a contradiction: orders has forgotten the decision.
    """
    user = billing.user
    paid: Payment | Deposit | Refusal | None = find(user.paid_baskets, asked.basket)
    if not paid and _has_to_look(user, asked, seen, mutation):
        # Looking at once is the worst case: until it is restored the archive only grows, so whatever is found now is
        # found later, and a restore ends whoever was about to look.
        paid = look(billing, "paid_baskets", asked.basket, mutation)
        if isinstance(paid, Refusal):
            return paid
        if not paid and mutation is Mutation.ABSENCE_BY_MAXIMUM:
            return Refusal.CONTRADICTION
    if isinstance(paid, Payment):
        stored = Decision(*paid[:3], "paid", paid.epoch)
    elif user.declined and user.declined.basket == asked.basket and asked.attempt <= user.declined.attempt:
        stored = user.declined
    else:
        return None
    if asked.attempt < stored.attempt:
        if mutation is Mutation.OLDER_ATTEMPT_EMITTED:
            return Decision(*asked[:3], stored.outcome)
        forgotten = asked.epoch > stored.epoch and mutation is not Mutation.OLDER_ATTEMPT_SILENT
        return Refusal.CONTRADICTION if forgotten else Refusal.OLDER
    return stored if asked[:3] == stored[:3] else Refusal.CONTRADICTION


def _has_to_look(user: User, asked: Payment, seen: int, mutation: Mutation | None) -> bool:
    """Tell whether the basket may be in the archive: not above `archived_through`, nor under a count not yet seen."""
    if asked.basket.number > user.archived_through or user.archived.paid_baskets.entries == seen:
        return False
    return not (seen and mutation is Mutation.DECISION_UNCONDITIONAL)


def decide(
    billing: Billing, asked: Payment, seen: int = 0, mutation: Mutation | None = None
) -> tuple[Decision | Refusal | None, Billing]:
    """Charge or decline, unless billing knows something of (basket, attempt) already; return what it says of it.

    The basket may have been archived under another count than the one seen, and was not found: nothing changes, and the
    update is to be tried again on the condition of the new count; but when the archive lacks entries, absence proves
    nothing, and somebody has to restore it. An attempt that is neither the first nor the successor of the declined one
    of this basket is a contradiction, and nothing is remembered of it. Balance enough: subtract and append. Else
    remember the decline: insufficient funds, or unknown user when there is no balance.
    """
    user = billing.user
    known = recall(billing, asked, seen, mutation)
    if mutation is Mutation.NO_STICKY_DECLINE and isinstance(known, Decision) and known.outcome != "paid":
        known = None
    if known is not None:
        return known, billing
    if _has_to_look(user, asked, seen, mutation):
        incomplete = lacks_entries(billing, "paid_baskets") and mutation is not Mutation.COMPLETENESS_NOT_ASKED
        return Refusal.INCOMPLETE if incomplete else Refusal.LOOK_AGAIN, billing
    successor = 1 + (user.declined.attempt if user.declined and user.declined.basket == asked.basket else 0)
    rules = (Mutation.NO_SUCCESSOR_RULE, Mutation.NO_STICKY_DECLINE)
    if asked.attempt != successor and mutation not in rules:
        return Refusal.CONTRADICTION, billing
    if user.balance is not None and user.balance >= asked.sum:
        remembers = mutation is not Mutation.CHARGE_BEFORE_REMEMBER
        user = user._replace(
            balance=user.balance - asked.sum,
            paid_baskets=(*user.paid_baskets, asked) if remembers else user.paid_baskets,
        )
        decided = Decision(*asked[:3], "paid", asked.epoch)
        decisions = (*billing.decisions, decided)
        return decided if remembers else None, billing._replace(user=user, decisions=decisions)
    declined = Decision(*asked[:3], "unknown user" if user.balance is None else "insufficient funds", asked.epoch)
    # Declining again, as a mutation may, is the same decision; charging again is another charge.
    decisions = billing.decisions if declined in billing.decisions else (*billing.decisions, declined)
    return declined, billing._replace(user=user._replace(declined=declined), decisions=decisions)


def settle(basket: Basket, decision: Decision, mutation: Mutation | None = None) -> Basket | Refusal:
    """Settle a basket that is ordered at this attempt with this sum: paid, or open again with the reason.

    An older attempt changes nothing, nor does the same outcome again. A later attempt, another sum and the other
    outcome are contradictions.
    """
    settled = Basket(basket.name, "paid" if decision.outcome == "paid" else "open", *decision[1:3])
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
) -> tuple[Literal["credited", "replayed", "contradiction", "unknown user"] | Refusal, Billing]:
    """Credit a deposit once per key, on the condition that so many deposits are archived as were seen.

    Its key is in `deposits`: replayed, or a contradiction for another sum. The count differs: nothing changes, and the
    key is looked up in the archive; not there, the update is to be tried again with the new count, unless the archive
    lacks entries.
    """
    user = billing.user
    if user.balance is None:
        return "unknown user", billing
    looks = seen != user.archived.deposits.entries and mutation is not Mutation.DEPOSIT_UNCONDITIONAL
    known: Payment | Deposit | Refusal | None = find(user.deposits, asked.key)
    if not known and looks:
        known = look(billing, "deposits", asked.key, mutation)
        if isinstance(known, Refusal):
            return known, billing
    if known:
        return "replayed" if known == asked else "contradiction", billing
    if looks:
        incomplete = lacks_entries(billing, "deposits") and mutation is not Mutation.COMPLETENESS_NOT_ASKED
        return Refusal.INCOMPLETE if incomplete else Refusal.LOOK_AGAIN, billing
    return "credited", credit(billing, asked)


def credit(billing: Billing, asked: Deposit) -> Billing:
    """Add a deposit to the balance of an account."""
    user = billing.user
    user = user._replace(balance=(user.balance or 0) + asked.sum, deposits=(*user.deposits, asked))
    return billing._replace(user=user, credits=(*billing.credits, asked))


class Move(NamedTuple):
    """The oldest entries of an array on their way to its archive, and what the account said when they were read."""

    array: Array
    entries: tuple[Payment, ...] | tuple[Deposit, ...]
    seen: Moved
    through: int

    @classmethod
    def due(cls, user: User, array: Array, limit: int) -> "Move | None":
        """Take the older half, at least one entry, of an array of `limit` entries or more."""
        entries = getattr(user, array)
        if len(entries) < limit:
            return None
        through = user.archived_through if array == "paid_baskets" else 0
        return cls(array, entries[: max(1, limit // 2)], getattr(user.archived, array), through)

    def insert(self, billing: Billing) -> Billing:
        """Insert the entries in the archive, under the positions that follow the count as read; again is the same."""
        archive: tuple[Kept, ...] = getattr(billing, self.array)
        entries: tuple[Payment | Deposit, ...] = self.entries
        new = [
            Kept(position, entry)
            for position, entry in enumerate(entries, self.seen.entries + 1)
            if all(kept.entry[0] != entry[0] for kept in archive)
        ]
        inserted: dict[str, Any] = {self.array: tuple(sorted((*archive, *new)))}
        return billing._replace(**inserted) if new else billing

    def pull(self, billing: Billing, mutation: Mutation | None = None) -> Billing:
        """Pull the entries, the archive's count and sum rising in the same update.

        Only while count and sum are as read: who comes second changes nothing. Of paid baskets the highest number
        moved is remembered, too.
        """
        user = billing.user
        moved: Moved = getattr(user.archived, self.array)
        is_paid = self.array == "paid_baskets"
        as_read = moved == self.seen
        if mutation is Mutation.PULL_GUARDED_BY_MAXIMUM and is_paid:
            as_read = user.archived_through == self.through
        if not as_read and mutation is not Mutation.PULL_UNCONDITIONAL:
            return billing
        counted = Moved(moved.entries + len(self.entries), moved.sum + sum(entry.sum for entry in self.entries))
        pulls: dict[str, Any] = {
            "archived": user.archived._replace(**{self.array: counted}),
            self.array: tuple(entry for entry in getattr(user, self.array) if entry not in self.entries),
        }
        pulled = user._replace(**pulls)
        if is_paid and mutation is not Mutation.ARCHIVED_THROUGH_NOT_RAISED:
            through = max(entry.basket.number for entry in self.entries if isinstance(entry, Payment))
            pulled = pulled._replace(archived_through=max(user.archived_through, through))
        return billing._replace(user=pulled)

    def __str__(self) -> str:
        return f"{self.array.replace('_', ' ')} {', '.join(map(str, self.entries))}"

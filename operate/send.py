"""Send recorded events again under their ids, or new events of the same content; count what was answered."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from bson import ObjectId

from operate.deliver import Answer, Target
from operate.payments import payment
from shop.messages import event_id, rfc3339
from wire.event import Event

_REASONS: Final = 20  # the most frequent ones; the rest are variations


@dataclass
class Sent:
    """What was sent, and what was answered."""

    target: Target
    total: int
    """How many events were to be sent."""

    older_epoch: int
    answers: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, answer: Answer) -> None:
        """Count one answer."""
        self.answers[f"answered {answer.status}" if answer.status else "not answered"] += 1
        if not answer.accepted:
            self.reasons[answer.reason] += 1

    @property
    def sent(self) -> int:
        """Return how many were answered, or given up."""
        return self.answers.total()

    @property
    def unanswered(self) -> int:
        """Return how many were on their way when it stopped: whether they were taken is not known."""
        return self.target.begun - self.sent

    def as_json(self, *, stopped: bool = False) -> dict[str, Any]:
        """Return it for JSON; when it was stopped, with what was not answered and not sent."""
        told = {"to": self.target.url, "sent": self.sent, "answers": dict(self.answers)}
        told |= {"reasons": dict(self.reasons.most_common(_REASONS)), "older_epoch": self.older_epoch}
        if stopped:
            not_sent = self.total - self.target.begun
            told |= {"stopped": True, "unanswered": self.unanswered, "not_sent": not_sent}
        return told


def anew(event: Event, epoch: int | None) -> Event:
    """Return another event with the same content: another effect, so another id, now, and of this epoch."""
    about = payment(event)
    now = rfc3339(datetime.now(UTC))
    if about is None:
        return event.with_attributes(id=str(ObjectId()), time=now)
    about.basket = str(ObjectId())
    if epoch is not None:
        about.epoch = epoch
    data = about.SerializeToString(deterministic=True)
    return Event({**event.attributes, "id": event_id(about), "subject": about.basket, "time": now}, data)

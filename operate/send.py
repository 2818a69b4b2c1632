"""Send recorded events again under their ids, or new events of the same content; count what was answered."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from operate.payments import payment
from operate.tally import Tally
from shop.messages import event_id, rfc3339
from wire.event import Event


@dataclass
class Sent(Tally):
    """What was sent, and what was answered."""

    older_epoch: int

    @property
    def answers(self) -> dict[str, int]:
        """Return how often each status was answered."""
        return {f"answered {status}" if status else "not answered": n for status, n in self.statuses.items()}

    def as_json(self, *, stopped: bool = False) -> dict[str, Any]:
        """Return it for JSON; when it was stopped, with what was not answered and not sent."""
        told = {"to": self.target.url, "sent": self.answered, "answers": self.answers}
        told |= {"reasons": self.frequent_reasons, "older_epoch": self.older_epoch}
        if stopped:
            told |= {"stopped": True, "unanswered": self.unanswered, "not_sent": self.not_sent}
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

"""Tell receivers outside of decisions, by the rules of Standard Webhooks.

Promises: a receiver is told of each decision at least once, always under the same id and in the same words; each try
is signed anew, with every secret that is in use. Nothing is kept here, so nothing is lost: what a receiver does not
take is tried again by KafkaSource, and ends in the dead letters.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable

from shop.emission import receiver
from shop.errors import Code, Unavailable
from shop.messages import rfc3339, to_datetime
from shop.process import process
from shop.schema.events_pb2 import PAID, PaymentDecided
from shop.state import DECLINED_OUTCOME, NOTIFY, PAID_OUTCOME, decline_code

SERVICE = NOTIFY

TYPE = "payment.decided"

GONE = 410
"""What a receiver answers that wants to be told nothing more: then a try again would only annoy it."""


async def tell(decided: PaymentDecided, clock: Callable[[], float] = time.time) -> str:
    """Tell every receiver, all at the same time, and return what came of it.

    Raises Unavailable when one of them did not take it: then all are told again.
    """
    webhooks = process.current().settings.webhooks
    if webhooks is None:
        return "nobody to tell"
    name, content, now = key(decided), body(decided), int(clock())
    headers = {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(signature(secret, name, now, content) for secret in webhooks.secrets),
    }
    posts = [receiver.post(url, headers, content, private=webhooks.private) for url in webhooks.urls]
    answers = await asyncio.gather(*posts, return_exceptions=True)
    failed = [
        f"{receiver.named(url)}: {_told(answer)}"
        for url, answer in zip(webhooks.urls, answers, strict=True)
        if not _is_done(answer)
    ]
    if failed:
        raise Unavailable(Code.WEBHOOK_NOT_TAKEN, f"{'; '.join(failed)}; it is sent again under the same id")
    return "gone" if GONE in answers else "told"


def key(decided: PaymentDecided) -> str:
    """Return the id of what is said: it names the effect, as the event's does. No dot: a signature needs it."""
    return f"{decided.basket}_{decided.attempt}"


def body(decided: PaymentDecided) -> bytes:
    """Return what is said of a decision: the same bytes at every try."""
    is_paid = decided.outcome == PAID
    said = {
        "type": TYPE,
        "timestamp": rfc3339(to_datetime(decided.decided_at)),
        "data": {
            "basket": decided.basket,
            "user": decided.user,
            "attempt": decided.attempt,
            "sum": decided.sum,
            "outcome": PAID_OUTCOME if is_paid else DECLINED_OUTCOME,
            "decline_code": None if is_paid else decline_code(decided.reason),
        },
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def signature(secret: bytes, name: str, now: int, content: bytes) -> str:
    """Sign what is said, with its id and the time of this try."""
    signed = hmac.digest(secret, f"{name}.{now}.".encode() + content, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def _is_done(answer: int | BaseException) -> bool:
    if isinstance(answer, int):
        return 200 <= answer < 300 or answer == GONE
    if not isinstance(answer, receiver.NotTaken):
        raise answer  # the end of this process, or a bug
    return False


def _told(answer: int | BaseException) -> str:
    return f"answered {answer}" if isinstance(answer, int) else str(answer)

"""What orders and billing say of one basket, against each other: every combination is named, or is fine."""

import itertools

import pytest

from operate.audit import REMEDIES, Moved, Said, archive_difference, difference


def said(status: str, attempt: int = 0, sum_: int | None = None) -> Said:
    return Said(status, attempt, None if sum_ is None else {"sum": sum_})


NOTHING = said("nothing")


@pytest.mark.parametrize(
    ("orders", "billing", "wrong"),
    [
        (said("open"), NOTHING, ""),
        (said("open", 1, 10), said("declined", 1, 10), ""),
        (said("paid", 1, 10), said("paid", 1, 10), ""),
        (said("ordered", 1, 10), NOTHING, "undecided"),
        (said("ordered", 2, 10), said("declined", 1, 99), "undecided"),
        (said("ordered", 1, 10), said("paid", 1, 10), "not settled"),
        (said("ordered", 1, 10), said("declined", 1, 10), "not settled"),
        (said("paid", 1, 10), NOTHING, "paid, not charged"),
        (said("paid", 2, 10), said("declined", 1, 10), "paid, not charged"),
        (said("paid", 1, 10), said("declined", 1, 10), "paid, not charged"),
        (said("paid", 1, 10), said("paid", 1, 11), "other terms"),
        (said("paid", 1, 10), said("paid", 2, 10), "other terms"),
        (said("ordered", 1, 10), said("paid", 1, 11), "other terms"),
        (said("ordered", 1, 10), said("declined", 1, 11), "other terms"),
        (said("open", 1, 10), said("declined", 1, 11), "other terms"),
        (said("open"), said("paid", 1, 10), "charged, not paid"),
        (said("open", 1, 10), said("paid", 1, 10), "charged, not paid"),
        (said("ordered", 2, 10), said("paid", 1, 10), "charged, not paid"),
        (said("ordered", 1, 10), said("paid", 2, 10), "charged, not paid"),
        (said("open"), said("declined", 1, 10), "later decision"),
        (said("open", 1, 10), said("declined", 2, 10), "later decision"),
        (said("ordered", 1, 10), said("declined", 2, 10), "later decision"),
        (said("open", 1, 10), NOTHING, "lost decline"),
        (said("open", 2, 10), said("declined", 1, 10), "lost decline"),
        (said("ordered", 2, 10), NOTHING, "lost decline"),
        (said("ordered", 3, 10), said("declined", 1, 10), "lost decline"),
    ],
)
def test_what_is_wrong_with_two_stories(orders: Said, billing: Said, wrong: str) -> None:
    """The first case that fits."""
    assert difference(orders, billing) == wrong


def test_no_two_stories_go_without_a_verdict_and_no_problem_without_a_remedy() -> None:
    """Only what is the same of both, attempt and terms included, is fine."""
    orders = [said(s, a, n) for s in ("open", "paid", "ordered") for a in (1, 2, 3) for n in (10, 11)]
    billing = [said(s, a, n) for s in ("paid", "declined") for a in (1, 2, 3) for n in (10, 11)]
    for ours, theirs in itertools.product([said("open"), *orders], [NOTHING, *billing]):
        wrong = difference(ours, theirs)
        same = (ours.attempt, ours.terms) == (theirs.attempt, theirs.terms)
        settled = {"paid": "paid", "declined": "open", "nothing": "open"}[theirs.status]
        assert (wrong == "") == (same and ours.status == settled), (ours, theirs)
        assert not wrong or REMEDIES[wrong]


OLDER_ARCHIVE, OLDER_ACCOUNT = "the archive is from an older backup", "the account is from an older backup"


@pytest.mark.parametrize(
    ("said", "held", "wrong"),
    [
        (Moved(0, 0), Moved(0, 0), ""),
        (Moved(4, 40), Moved(4, 40), ""),
        (Moved(0, 40), Moved(4, 40), ""),  # 67d5614 did not count charges
        (Moved(2, 40), Moved(4, 40), ""),  # nor beside functions that do, during a rollout
        (Moved(4, 40), Moved(2, 20), OLDER_ARCHIVE),
        (Moved(4, 40), Moved(0, 0), OLDER_ARCHIVE),
        (Moved(0, 40), Moved(2, 20), OLDER_ARCHIVE),
        (Moved(4, 40), Moved(2, 40), OLDER_ARCHIVE),
        (Moved(4, 40), Moved(3, 50), OLDER_ARCHIVE),
        (Moved(2, 20), Moved(4, 40), OLDER_ACCOUNT),
        (Moved(0, 0), Moved(4, 40), OLDER_ACCOUNT),
        (Moved(4, 40), Moved(4, 50), OLDER_ACCOUNT),
    ],
)
def test_what_is_wrong_with_an_archive(said: Moved, held: Moved, wrong: str) -> None:
    """Its sum and its count against the account's: the same rule for charges and for deposits."""
    assert archive_difference(said, held).startswith(wrong)
    assert bool(archive_difference(said, held)) == bool(wrong)

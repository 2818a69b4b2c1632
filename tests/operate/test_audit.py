"""What orders and billing say of one basket, against each other: every combination is named, or is fine."""

import itertools

import pytest

from operate.audit import REMEDIES, Moved, Said, archive_difference, difference

NOTHING = Said("nothing")


@pytest.mark.parametrize(
    ("orders", "billing", "wrong"),
    [
        (Said("open"), NOTHING, ""),
        (Said("open", 1, 10), Said("declined", 1, 10), ""),
        (Said("paid", 1, 10), Said("paid", 1, 10), ""),
        (Said("ordered", 1, 10), NOTHING, "undecided"),
        (Said("ordered", 2, 10), Said("declined", 1, 99), "undecided"),
        (Said("ordered", 1, 10), Said("paid", 1, 10), "not settled"),
        (Said("ordered", 1, 10), Said("declined", 1, 10), "not settled"),
        (Said("paid", 1, 10), NOTHING, "paid, not charged"),
        (Said("paid", 2, 10), Said("declined", 1, 10), "paid, not charged"),
        (Said("paid", 1, 10), Said("declined", 1, 10), "paid, not charged"),
        (Said("paid", 1, 10), Said("paid", 1, 11), "other sum"),
        (Said("paid", 1, 10), Said("paid", 2, 10), "other sum"),
        (Said("ordered", 1, 10), Said("paid", 1, 11), "other sum"),
        (Said("ordered", 1, 10), Said("declined", 1, 11), "other sum"),
        (Said("open", 1, 10), Said("declined", 1, 11), "other sum"),
        (Said("open"), Said("paid", 1, 10), "charged, not paid"),
        (Said("open", 1, 10), Said("paid", 1, 10), "charged, not paid"),
        (Said("ordered", 2, 10), Said("paid", 1, 10), "charged, not paid"),
        (Said("ordered", 1, 10), Said("paid", 2, 10), "charged, not paid"),
        (Said("open"), Said("declined", 1, 10), "later decision"),
        (Said("open", 1, 10), Said("declined", 2, 10), "later decision"),
        (Said("ordered", 1, 10), Said("declined", 2, 10), "later decision"),
        (Said("open", 1, 10), NOTHING, "lost decline"),
        (Said("open", 2, 10), Said("declined", 1, 10), "lost decline"),
        (Said("ordered", 2, 10), NOTHING, "lost decline"),
        (Said("ordered", 3, 10), Said("declined", 1, 10), "lost decline"),
    ],
)
def test_what_is_wrong_with_two_stories(orders: Said, billing: Said, wrong: str) -> None:
    """The first case that fits."""
    assert difference(orders, billing) == wrong


def test_no_two_stories_go_without_a_verdict_and_no_problem_without_a_remedy() -> None:
    """Only what is the same of both, attempt and sum included, is fine."""
    said = [Said(status, attempt, sum_) for attempt in (1, 2, 3) for sum_ in (10, 11) for status in ("open", "paid")]
    ordered = [Said("ordered", one.attempt, one.sum) for one in said]
    billing = [Said(s, a, n) for s in ("paid", "declined") for a in (1, 2, 3) for n in (10, 11)]
    for ours, theirs in itertools.product([Said("open"), *said, *ordered], [NOTHING, *billing]):
        wrong = difference(ours, theirs)
        same = (ours.attempt, ours.sum) == (theirs.attempt, theirs.sum)
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

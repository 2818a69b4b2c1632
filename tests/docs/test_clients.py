"""docs/clients.md tells a client what to do after each answer, in the codes and statuses that there are."""

import re
from pathlib import Path

from shop.errors import Code

CLIENTS = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
ANSWERS = CLIENTS.partition("## What to do with an answer")[2].partition("\n**With its key**")[0]
INGRESS_ALONE = {408, 429, 502, 504}


def test_every_code_that_it_names_exists() -> None:
    """A code that is renamed is renamed here."""
    codes = {str(code) for code in Code}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", CLIENTS)) - {
        "order_status",
        "decline_code",
        "insufficient_funds",
        "no_account",
    }
    assert {"outcome_unknown", "history_incomplete"} <= named <= codes


def test_it_says_what_to_do_after_every_status() -> None:
    """Those that functions answer, and those that only an ingress does."""
    rows = re.findall(r"^\| ([^|]+)\|", ANSWERS, re.MULTILINE)
    statuses = {int(status) for row in rows for status in re.findall(r"\d{3}", row)}
    assert statuses == {200, *(code.status for code in Code)} | INGRESS_ALONE

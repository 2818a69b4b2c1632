"""Each failure has a code of its own, said in one list, where it is raised, and in docs/errors.md and openapi.yaml."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.errors import Code, Rejected, Unavailable
from tests.support import openapi

ROOT = Path(__file__).parents[2]
KINDS = {kind.__name__ for kind in (*Rejected.__subclasses__(), Unavailable)}


def raised() -> Iterator[tuple[str, str, str]]:
    """Return place, kind and code of whatever is made of a kind of failure; the code is "" where none is named."""
    for file in sorted((ROOT / "shop").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                code = ast.unparse(node.args[0]) if node.args else ""
                yield f"{file.name}:{node.lineno}", node.func.id, code.removeprefix("Code.") if "Code." in code else ""


def test_each_failure_names_a_code_of_its_kind() -> None:
    """A kind decides what is done about it, and a code says which it is: they never disagree."""
    for place, kind, code in raised():
        assert code, place
        assert Code[code].kind is not None, place
        assert Code[code].kind.__name__ == kind, place


def test_each_code_is_in_use() -> None:
    """Nobody has to be ready for what never comes."""
    found = {code for _, _, code in raised()}
    assert {code.name for code in Code if code.kind is not None} == found


@pytest.mark.parametrize("code", Code, ids=str)
def test_a_code_says_the_same_as_its_status(code: Code) -> None:
    """4xx: nothing was done, and the same request is never done. 5xx: it may have been."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", str(code))
    assert (code.status < 500) == (code.kind is not Unavailable and code is not Code.INTERNAL_ERROR)
    assert not (code.retryable and code.status != 503)
    assert code.same_key or not code.retryable


def row(code: Code) -> str:
    """Return a code's row of the table."""
    kind = code.kind.__name__ if code.kind else "none"
    cells = (f'<a id="{code}"></a>`{code}`', code.status, kind, code.retryable, code.same_key, code.meaning)
    return "| " + " | ".join({True: "yes", False: "no"}.get(cell, str(cell)) for cell in cells) + " |"


def test_the_table_of_the_documents_is_the_list() -> None:
    """docs/errors.md has each code, in the same order, and no other; a problem's type leads to it."""
    text = (ROOT / "docs" / "errors.md").read_text()
    assert re.findall(r"^\| <a .*$", text, re.MULTILINE) == [row(code) for code in Code]


def test_the_contract_names_each_code() -> None:
    """docs/openapi.yaml describes them; it lists none as the only ones, so that a new one breaks no client."""
    code = openapi.DOCUMENT["components"]["schemas"]["Error"]["properties"]["code"]
    assert "enum" not in code
    assert re.findall(r"`([a-z_]+)`", code["description"]) == [str(each) for each in Code if answered_over_http(each)]


def answered_over_http(code: Code) -> bool:
    """Whether an HTTP function may answer it; the others are of consumers."""
    return code.name not in {
        *("NOT_AN_EVENT", "WRONG_EVENT", "OLDER_EPOCH", "NOT_ITS_TURN", "OTHER_CONTENT", "BASKET_MISSING"),
        *("RESTORED_ALONE", "NEWER_EPOCH", "NEWER_CONTENT", "SINK_UNAVAILABLE", "WEBHOOK_NOT_TAKEN"),
    }

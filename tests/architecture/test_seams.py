"""What a test replaces it hands in: nothing of ours is patched, and nobody writes the environment of this process."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("functions", "shop", "wire", "operate", "deploy", "local", "bench", "tests", "proof")

APART = {
    "proof/simulation/mutants.py",  # each of its patches is a bug that the simulation must find
    "proof/upgrade/make.py",  # runs in a checkout of 67d5614, whose module globals have no other way in
    "tests/support/asgi.py",  # takes back what the framework writes into the environment
    "tests/support/own_servers.py",  # before any test: tells all processes of a run its names, and starts no server
}


def files() -> Iterator[tuple[str, ast.Module]]:
    """Every file of the project, by its path."""
    for file in sorted(file for folder in OURS for file in (ROOT / folder).rglob("*.py")):
        yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


def patches(tree: ast.Module) -> Iterator[str]:
    """What a file replaces in a module or class of ours; or in whatever a variable holds, which may be one."""
    ours, names = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            names |= imported
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            ours |= imported if f"{module}".partition(".")[0] in OURS else set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="setattr" | "delattr" | "object"), args=[target, *rest]):
                roots = {name.id for name in ast.walk(target) if isinstance(name, ast.Name)}
                if roots & ours or (roots and not roots & names):
                    yield ".".join(ast.unparse(each).strip("'") for each in (target, *rest[:1]))
                yield from _named(target)
            case ast.Call(func=ast.Attribute(attr="patch") | ast.Name(id="patch"), args=[target, *_]):
                yield from _named(target)
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                yield from (ast.unparse(target) for target in targets if _attribute_of(target, ours))


def _named(target: ast.expr) -> list[str]:
    ours = isinstance(target, ast.Constant) and str(target.value).partition(".")[0] in OURS
    return [target.value] if ours else []


def _attribute_of(target: ast.expr, ours: set[str]) -> bool:
    return isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in ours


_WRITES = {"update", "pop", "popitem", "setdefault", "clear", "putenv", "unsetenv", "setenv", "delenv", "dict"}


def writes(tree: ast.Module) -> Iterator[str]:
    """Where a file changes the environment of its own process."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="environ"), ctx=ast.Store() | ast.Del()):
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="putenv" | "unsetenv" | "setenv" | "delenv"), args=[name, *_]):
                yield f"environ {ast.unparse(name)}"
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ"), attr=attr)) if attr in _WRITES:
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="dict"), args=[ast.Attribute(attr="environ"), *_]):
                yield ast.unparse(node.func) + " environ"


def test_nothing_of_ours_is_patched_and_nobody_writes_the_environment() -> None:
    """The failure names the file and what it replaces."""
    found = {file: wrong for file, tree in files() if (wrong := [*patches(tree), *writes(tree)])}
    assert {file: wrong for file, wrong in found.items() if file not in APART} == {}
    assert sorted(APART - found.keys()) == []


def test_every_way_to_patch_is_seen() -> None:
    """Modules, classes and names by string; and not what belongs to others or to the test itself."""
    text = """
import socket
from shop import mongo
from shop.archive import PAID_BASKETS, Archive

mongo._client = None
monkeypatch.setattr(mongo, "latest", raced)
monkeypatch.setattr(Archive, "find", find)
monkeypatch.setattr(type(PAID_BASKETS), "find", find)
monkeypatch.setattr("local.demo.Stack", own)
mock.patch.object(mongo, "client", other)
mock.patch("shop.mongo.client")
for owner in owners: mock.patch.object(owner, "name", other)
monkeypatch.setattr(socket, "socket", refusing)
monkeypatch.setattr("socket.socket", refusing)
self.client = None
"""
    assert sorted(patches(ast.parse(text))) == [
        "Archive.find",
        "local.demo.Stack",
        "mongo._client",
        "mongo.client",
        "mongo.latest",
        "owner.name",
        "shop.mongo.client",
        "type(PAID_BASKETS).find",
    ]


def test_every_way_to_write_the_environment_is_seen() -> None:
    """And not what reads it, or copies it for a process to start."""
    text = """
os.environ["K_SINK"] = url
del os.environ["K_SINK"]
os.environ.update(more)
os.putenv("K_SINK", url)
monkeypatch.setenv("K_SINK", url)
mock.patch.dict(os.environ, more)
os.environ.get("K_SINK")
{**os.environ, "K_SINK": url}
os.environ["K_SINK"]
"""
    assert len(list(writes(ast.parse(text)))) == 6

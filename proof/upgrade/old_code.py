"""The source of 67d5614, out of this repository's history."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT

COMMIT = "67d5614"


def check_out(folder: Path) -> Path:
    """Put the functions of 67d5614, and what they share, into a folder; skip the test where history is not there."""
    try:
        archive = subprocess.run(
            ["git", "archive", COMMIT, "functions", "shop"], cwd=ROOT, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.decode().strip() if isinstance(error, subprocess.CalledProcessError) else error
        pytest.skip(f"it needs the code of {COMMIT} from git's history, which this clone does not have: {said}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder

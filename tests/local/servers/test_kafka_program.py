"""What a run of Kafka leaves for later ones: a cache that Java takes, and a formatted folder."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from local.servers.kafka_program import Program, installed, prepared
from local.servers.locked_jars import ensure_jars
from local.servers.parts import PartFailedError


def test_java_takes_the_cache() -> None:
    """Told to end without one that fits, Java does not end: flags and jars are those that it knows."""
    assert _java_version(installed()).returncode == 0


def test_a_cache_that_does_not_fit_would_be_seen(tmp_path: Path) -> None:
    """Half a cache: what the other test asks Java has an answer."""
    program = installed()
    (tmp_path / "kafka.aot").write_bytes((program.prepared / "kafka.aot").read_bytes()[:1_000_000])
    assert _java_version(dataclasses.replace(program, prepared=tmp_path)).returncode != 0


def _java_version(program: Program) -> "subprocess.CompletedProcess[bytes]":
    java, *arguments, _, _ = program.command()
    return subprocess.run(
        [java, "-XX:AOTMode=on", *arguments, "-version"], check=False, timeout=60, capture_output=True
    )


def test_without_a_cache_there_is_one_compiler(tmp_path: Path) -> None:
    """On a machine on which Java could make none, Kafka starts as fast as it can without."""
    command = dataclasses.replace(installed(), prepared=tmp_path).command()
    assert "-XX:TieredStopAtLevel=1" in command
    assert not any("AOTCache" in str(argument) for argument in command)


def test_a_folder_is_formatted_once_and_whole(tmp_path: Path) -> None:
    """What an interrupted copy has left is not taken for a formatted folder, and what Kafka stored stays."""
    program = installed()
    shutil.copytree(program.prepared / "data", tmp_path / "copy")
    (tmp_path / "copy" / "meta.properties").unlink()
    program.settle(tmp_path, 19092)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["__cluster_metadata-0", "meta.properties"]
    (tmp_path / "data" / "kept").touch()
    program.settle(tmp_path, 19093)
    assert (tmp_path / "data" / "kept").exists()
    assert "127.0.0.1:19093" in (tmp_path / "server.properties").read_text()


def test_a_kafka_that_does_not_run_here_is_named(tmp_path: Path) -> None:
    """Its log is in the error, and the next try begins anew."""
    with pytest.raises(PartFailedError, match=r"could not format a folder[\s\S]*StorageTool"):
        prepared(ensure_jars()[:1], folder=tmp_path)
    assert list(tmp_path.glob("*/")) == []

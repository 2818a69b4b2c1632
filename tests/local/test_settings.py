"""Settings that cannot be used are named, with what to do."""

import errno
import socket
from pathlib import Path

import pytest

from local.mongodb import Mongod
from local.ports import Ports
from local.settings import Settings, SettingsError


def test_settings_come_from_the_environment() -> None:
    """Every variable is read, and an empty one counts as absent."""
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({"PORT": "", "LOCAL_DIR": "", "MONGODB_URI": ""}) == Settings()
    assert Settings.from_environment(
        {
            "PORT": "80",
            "LOCAL_DIR": "/data",
            "MONGODB_PORT": "1",
            "KAFKA_PORT": "2",
            "SINK_PORT": "0",
            "MONGODB_URI": "mongodb://elsewhere",
            "KAFKA_BOOTSTRAP_SERVERS": "elsewhere:9092",
            "LOG": "1",
        }
    ) == Settings(80, Path("/data"), 1, 2, 0, "mongodb://elsewhere", "elsewhere:9092", echo_logs=True)


@pytest.mark.parametrize("value", ["http", "-1", "65536", "8080.0", "٨٠"])
def test_a_port_that_is_none_is_named(value: str) -> None:
    """The message says which variable, and which values are good."""
    with pytest.raises(SettingsError, match=rf"KAFKA_PORT={value} is not a port"):
        Settings.from_environment({"KAFKA_PORT": value})


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    """The message is a command to type."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port {port} is in use.*PORT={port + 1} make run"):
            Ports().claim("PORT", port)


def test_a_port_that_needs_root_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 80 is what the seed's collection calls."""

    class Refusing(socket.socket):
        def bind(self, address: object) -> None:  # noqa: ARG002
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("local.ports.socket.socket", Refusing)
    with pytest.raises(SettingsError, match=r"port 80 needs root.*ip_unprivileged_port_start=80.*PORT=8080 make run"):
        Ports().claim("PORT", 80)


def test_a_library_that_mongod_needs_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The usual thing that is missing on a bare machine."""

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("local.mongodb.ctypes.CDLL", missing)
    with pytest.raises(SettingsError, match="apt-get install libcurl4"):
        Mongod(tmp_path, 1, tmp_path / "log")


def test_a_machine_without_a_mongod_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package with mongod has it for one kind of machine."""
    monkeypatch.setattr("local.mongodb.platform.machine", lambda: "aarch64")
    with pytest.raises(SettingsError, match="set MONGODB_URI"):
        Mongod(tmp_path, 1, tmp_path / "log")


def test_free_ports_are_handed_out_once() -> None:
    """Parts that start later must not find their port taken by a sibling."""
    ports = Ports()
    taken = [ports.free() for _ in range(200)]
    assert len(set(taken)) == len(taken)

"""The image, built for real: each function starts from its files by its own command, and needs to write nowhere."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import building
from tests.deploy.building import LABELS, START_TIMEOUT_S, Built, serving
from tests.support.functions import FUNCTIONS

pytestmark = [pytest.mark.ci, pytest.mark.timeout(3 * building.BUILD_TIMEOUT_S)]

TURNS = range(3, 12)
"""How often a function is started here and there, in turns. The best of each counts: noise only ever adds."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The one image of all tests here."""
    if why := building.missing():
        pytest.skip(why)
    with building.built(tmp_path_factory.mktemp("image")) as image:
        yield image


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_of_the_image_starts_and_ends(built: Built, function: str) -> None:
    """It answers /healthz as the user of the image, who can write nowhere; SIGTERM ends it.

    In a container it is process 1, which a signal without a handler does nothing to.
    """
    with serving(built.serve, function) as served:
        handled = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{served.process.pid}/status").read_text(), re.MULTILINE)
        assert handled is not None
        assert int(handled[1], 16) & 1 << signal.SIGTERM - 1
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(START_TIMEOUT_S) in (0, -signal.SIGTERM)


def test_what_is_in_flight_is_finished_after_sigterm(built: Built) -> None:
    """A request of which half has come is answered, and then the process ends."""
    with (
        serving(built.serve, "create_user") as served,
        socket.create_connection(("127.0.0.1", served.port), START_TIMEOUT_S) as client,
    ):
        body = b'{"user": 1}'
        client.sendall(
            b"POST /CreateUser HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body[:5])
        )
        served.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            served.process.wait(0.5)
        client.sendall(body[5:])
        assert client.recv(100).startswith(b"HTTP/1.1 ")  # whatever it says: there is no MongoDB
        assert served.process.wait(START_TIMEOUT_S) in (0, -signal.SIGTERM)


def test_the_first_answer_comes_as_soon_as_from_the_virtual_environment(built: Built) -> None:
    """Within a tenth; without bytecode it would take twice as long."""
    there, here = [], []
    for turn in TURNS:
        while len(there) < turn:
            with serving(built.serve, "create_order") as served:
                there.append(served.first_answer_s)
            with serving(building.serve_from_here, "create_order") as served:
                here.append(served.first_answer_s)
        if min(there) <= 1.1 * min(here):
            break
    assert min(there) <= 1.1 * min(here)


def test_the_image_runs_as_no_root_by_number(built: Built) -> None:
    """A cluster with runAsNonRoot refuses a name; a command in words would run in a shell, which keeps SIGTERM."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", built.config["User"])
    assert built.config["Entrypoint"] == ["python3", "-m", "shop.serve"]
    assert LABELS.items() <= built.config["Labels"].items()


def test_nothing_is_left_that_builds_or_installs(built: Built) -> None:
    """No compiler, no pip, nor what brings pip back; neither the doctor nor a test."""
    names = {path.as_posix() for path in built.files()}
    commands = {path.rpartition("/")[2] for path in names if re.search(r"(^|/)s?bin/[^/]+$", path)}
    assert "python3" in commands
    builds = re.compile(r"(pip|gcc|g\+\+|cc|c\+\+|clang|ld|as|make|wheel)[-\d.]*")
    assert not {name for name in commands if builds.fullmatch(name)}
    assert not [name for name in names if re.search(r"/(pip|ensurepip|setuptools|python-wheels)/", name)]
    left_out = ("app/shop/doctor", "app/tests", "app/local", "app/operate", "app/functions/console", "build/")
    assert not [name for name in names if name.startswith(left_out)]


def test_everything_is_bytecode_already(built: Built) -> None:
    """A container that compiled at its start would do so each time, for it can keep nothing."""
    names = set(built.files())
    modules = [path for path in names if path.suffix == ".py" and path.parts[0] == "app"]
    program = "import sys, shop.serve; print(*(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', 0)))"
    process = built.start(["python3", "-c", program])
    loaded = process.communicate(timeout=START_TIMEOUT_S)[0].decode().split()
    assert process.returncode == 0, loaded
    modules += [Path(file.lstrip("/")) for file in loaded if file.endswith(".py")]
    assert len(modules) > 200
    compiled = {(path.parent.parent, path.name.partition(".")[0]) for path in names if path.suffix == ".pyc"}
    # Debian keeps this one in /etc, where nothing is compiled.
    assert [each for each in modules if (each.parent, each.stem) not in compiled and each.stem != "sitecustomize"] == []


def test_the_image_has_the_size_that_the_readme_says(built: Built) -> None:
    """The base, here Debian with Python, and what the lock brings, and a megabyte of code."""
    sizes = {path: os.lstat(built.root / path).st_size for path in built.files()}
    ours = sum(size for path, size in sizes.items() if path.parts[0] == "app") / 1e6
    said = re.search(r"(\d+) MB to its base", (building.ROOT / "README.md").read_text())
    assert said is not None
    assert ours == pytest.approx(int(said[1]), rel=0.1)


def test_the_image_of_the_command_has_it(tmp_path: Path) -> None:
    """As the components verify and console start it: by its name, and as a function."""
    if why := building.missing():
        pytest.skip(why)
    with building.built(tmp_path / "image", "orders") as image:
        process = image.start(["orders", "verify", "--help"])
        assert b"--audit" in process.communicate(timeout=START_TIMEOUT_S)[0]
        process = image.start(["python3", "-c", "import functions.console.main"])
        assert process.communicate(timeout=START_TIMEOUT_S)[0] == b""
        assert process.returncode == 0

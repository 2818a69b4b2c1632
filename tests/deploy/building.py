"""Builds the image with buildah, which needs no daemon, on a base that mmdebstrap makes of Debian's packages."""

import http.client
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy import image
from deploy.commands import ROOT
from local.ports import free_port
from local.servers.child import die_with_parent
from shop.process.version import VERSION

IMAGE: Final = "localhost/shop:tested"
BASE: Final = "localhost/base:tested"
LABELS: Final = {"org.opencontainers.image.version": VERSION, "org.opencontainers.image.revision": "0" * 40}

BUILD_TIMEOUT_S: Final = 540
"""A base takes half a minute, wheels and bytecode as much; the network may be slow."""

START_TIMEOUT_S: Final = 20
"""A function starts in less than a second; the machine may be busy."""

_TOOLS: Final = ("buildah", "mmdebstrap")
"""What it takes; Debian's packages of these names have them."""

_MADE: Final = ROOT / ".venv" / "image-base"
"""The base, which is made once: it is Debian's, and nothing of ours is in it."""

_SUITE: Final = {"debian": "bookworm", "ubuntu": "noble"}
"""The oldest release of each that has Python 3.11 or later, for a machine that does not name its own."""

_LEFT_OUT: Final = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


def missing() -> str:
    """Say what this machine lacks to build it; nothing, when it lacks nothing."""
    if os.geteuid():
        return "a build without a daemon needs root"
    absent = [program for program in _TOOLS if not shutil.which(program)]
    return f"missing: apt-get install {' '.join(absent)}" if absent else ""


class Buildah:
    """A buildah with a store of its own, that runs each step in a chroot."""

    def __init__(self, folder: Path) -> None:
        home = folder / "home"
        (home / ".config" / "containers").mkdir(parents=True)
        policy = {"default": [{"type": "insecureAcceptAnything"}]}  # its own images, and no others
        (home / ".config" / "containers" / "policy.json").write_text(json.dumps(policy))
        self._environment = {**os.environ, "HOME": str(home)}
        # vfs copies where others mount: it works in a container too.
        self._words = ["buildah", "--root", f"{folder}/store", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]

    def __call__(self, *words: str) -> str:
        """Run a command of it and return what it wrote."""
        return _done([*self._words, *words], self._environment)

    def build(self, *words: str) -> None:
        """Build, with what this machine needs to reach a registry of packages."""
        mounts = [Path("/etc/pip.conf"), Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/resolv.conf")]
        volumes = [word for each in mounts if each.exists() for word in ("--volume", f"{each}:{each}:ro")]
        self("build", "--isolation", "chroot", *volumes, *words)

    def make_base(self) -> None:
        """Make an image of Debian's Python, and of little else."""
        _MADE.mkdir(exist_ok=True)
        tar = _MADE / "base.tar"
        if not tar.exists():
            half = _MADE / "half.tar"
            leave_out = [f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT]
            packages = "--include=python3,python3-venv,ca-certificates"
            _done(["mmdebstrap", "--variant=essential", packages, *leave_out, *_suite(), "--format=tar"], to=half)
            half.rename(tar)
        (_MADE / "Containerfile").write_text(f"FROM scratch\nADD {tar.name} /\n")
        self("build", "-t", BASE, "-f", str(_MADE / "Containerfile"), str(_MADE))


def _suite() -> list[str]:
    """Return the words for mmdebstrap: a release, to standard output, from this machine's own mirrors."""
    told = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    kind = told["ID"].strip('"')
    sources = [Path(f"/etc/apt/sources.list.d/{kind}.sources"), Path("/etc/apt/sources.list")]
    mirror = next((str(source) for source in sources if source.is_file()), "")
    return [told.get("VERSION_CODENAME", _SUITE.get(kind, "bookworm")), "-", *([mirror] if mirror else [])]


def _done(words: Sequence[str], environment: Mapping[str, str] | None = None, to: Path = Path(os.devnull)) -> str:
    """Run a command and return what it wrote, or write that to a file."""
    with to.open("wb") as file:
        done = subprocess.run(
            words,
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if to == Path(os.devnull) else file,
            stderr=subprocess.PIPE,
            timeout=BUILD_TIMEOUT_S,
        )
    written = (done.stdout or b"").decode()
    assert done.returncode == 0, written[-4000:] + done.stderr.decode()[-4000:]
    return written.strip()


@dataclass(frozen=True)
class Built:
    """An image, its files where they are, and what it says of how to run it."""

    root: Path
    config: Mapping[str, Any]

    def start(self, words: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        """Run a command as a container of this image does: in its files, in its folder, as its user."""
        user, _, group = self.config["User"].partition(":")

        def enter() -> None:
            os.chroot(self.root)
            os.chdir(self.config["WorkingDir"])
            os.setgroups([])
            os.setgid(int(group))
            os.setuid(int(user))
            die_with_parent()  # after the change of user, which would forget it

        own = dict(each.split("=", 1) for each in self.config["Env"])
        return _started(words, {**own, **environment}, enter)

    def serve(self, **environment: str) -> subprocess.Popen[bytes]:
        """Run a function, by the image's own command."""
        return self.start(self.config["Entrypoint"], **environment)

    def files(self) -> Iterator[Path]:
        """Yield every file, as a path from its root."""
        for folder, _, names in os.walk(self.root):
            yield from (Path(folder, name).relative_to(self.root) for name in names)


@contextmanager
def built(folder: Path, lock: str = "functions") -> Iterator[Built]:
    """Build the image of a lock, and lay out its files in a folder."""
    buildah = Buildah(folder)
    try:
        buildah.make_base()
        buildah.build(*image.build_command("buildah", IMAGE, BASE, LABELS, lock)[2:])
        container = buildah("from", IMAGE)
        told = json.loads(buildah("inspect", "--type", "image", IMAGE))
        root = Path(buildah("mount", container))
        _refuse_to_be_written(root)
        yield Built(root, told["OCIv1"]["config"])
    finally:
        shutil.rmtree(folder)  # in vfs all of it is plain files


def _refuse_to_be_written(root: Path) -> None:
    """Let nobody but root write anywhere: what a read-only root file system is for the user of an image."""
    for folder, _, _ in os.walk(root):
        mode = stat.S_IMODE(os.lstat(folder).st_mode)
        Path(folder).chmod(mode & ~0o022)


def serve_from_here(**environment: str) -> subprocess.Popen[bytes]:
    """Run a function from this project's folder and environment, as the one-machine stack does."""
    return _started([sys.executable, "-m", "shop.serve"], {**os.environ, **environment}, die_with_parent)


def _started(
    words: Sequence[str], environment: Mapping[str, str], enter: Callable[[], None]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*words],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=enter,
        start_new_session=True,
    )


@dataclass(frozen=True)
class Serving:
    """A function that answers: its process, its port, and how long it took until its first answer."""

    process: subprocess.Popen[bytes]
    port: int
    first_answer_s: float


@contextmanager
def serving(serve: Callable[..., subprocess.Popen[bytes]], function: str) -> Iterator[Serving]:
    """Start a function and wait until /healthz is answered with 200."""
    port = free_port()
    began = time.monotonic()
    process = serve(FUNCTION_TARGET=function, HOST="127.0.0.1", PORT=str(port))
    try:
        while _status(port) != 200:
            if process.poll() is not None:
                assert process.stdout is not None
                raise AssertionError(process.stdout.read().decode())
            assert time.monotonic() - began < START_TIMEOUT_S, f"{function} does not answer /healthz"
            time.sleep(0.005)
        yield Serving(process, port, time.monotonic() - began)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _status(port: int) -> int:
    """Return what /healthz is answered with; 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()

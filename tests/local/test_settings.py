"""Settings that cannot be used are named, with what to do."""

import contextlib
import errno
import shlex
import socket
from pathlib import Path

import pytest

from local.ports import FREE_PORTS, Ports
from local.servers import envoy
from local.servers.mongodb import binary
from local.settings import Settings, SettingsError
from wire.login import CA, MECHANISM, PASSWORD, PROTOCOL, USERNAME


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
            "USE_MONGODB_URI": "1",
            "KAFKA_BOOTSTRAP_SERVERS": "elsewhere:9092",
            "USE_KAFKA_BOOTSTRAP_SERVERS": "1",
            "LOG": "1",
            **AUTH,
        }
    ) == Settings(80, Path("/data"), 1, 2, 0, "mongodb://elsewhere", "elsewhere:9092", echo_logs=True, auth=AUTH)


AUTH = {"AUTH_JWKS_URL": "http://127.0.0.1/keys", "AUTH_ISSUER": "a", "AUTH_AUDIENCE": "b", "AUTH_ROLES_CLAIM": "c"}


@pytest.mark.parametrize("name", ["AUTH_JWKS_URL", "AUTH_ISSUER", "AUTH_AUDIENCE"])
def test_half_of_what_demands_tokens_is_refused(name: str) -> None:
    """The message names what is missing; the roles' claim alone may be."""
    with pytest.raises(SettingsError, match=f"but not {name}: "):
        Settings.from_environment({other: value for other, value in AUTH.items() if other != name})
    assert len(Settings.from_environment({**AUTH, "AUTH_ROLES_CLAIM": ""}).auth) == 3


LOGIN = {PROTOCOL: "SASL_SSL", MECHANISM: "PLAIN", USERNAME: "shop", PASSWORD: "secret", CA: __file__}
ELSEWHERE = {"KAFKA_BOOTSTRAP_SERVERS": "k:9092", "USE_KAFKA_BOOTSTRAP_SERVERS": "1"}


def test_a_login_to_kafka_is_read_and_its_password_shown_to_nobody() -> None:
    """Not by the command line that is offered, and not by the settings themselves."""
    settings = Settings.from_environment({**ELSEWHERE, **LOGIN})
    assert settings.kafka_login == LOGIN
    assert "secret" not in repr(settings)
    assert settings.command({}) == (
        "KAFKA_BOOTSTRAP_SERVERS=k:9092 USE_KAFKA_BOOTSTRAP_SERVERS=1 KAFKA_SECURITY_PROTOCOL=SASL_SSL "
        'KAFKA_SASL_MECHANISM=PLAIN KAFKA_SASL_USERNAME=shop KAFKA_SASL_PASSWORD="$KAFKA_SASL_PASSWORD" '
        f"KAFKA_SSL_CA={__file__} make run"
    )


def test_a_login_to_no_kafka_or_half_of_one_is_refused() -> None:
    """The Kafka that is started here would hang up on whoever logs in."""
    with pytest.raises(SettingsError, match="but not KAFKA_BOOTSTRAP_SERVERS: the Kafka started here takes no login"):
        Settings.from_environment(LOGIN)
    with pytest.raises(SettingsError, match=f"SASL_SSL, but not {PASSWORD}: ") as refused:
        Settings.from_environment({**ELSEWHERE, **LOGIN, PASSWORD: "", "PORT": "http"})
    assert "PORT=http" in str(refused.value)


def test_a_command_shows_whose_tokens_are_taken() -> None:
    """Whoever runs another stack beside it runs no open one by accident."""
    said = Settings(auth=AUTH).command({})
    assert said == "AUTH_JWKS_URL=http://127.0.0.1/keys AUTH_ISSUER=a AUTH_AUDIENCE=b AUTH_ROLES_CLAIM=c make run"


@pytest.mark.parametrize("value", ["http", "-1", "65536", "8080.0", "٨٠", "9" * 5000])
def test_a_port_that_is_none_is_named(value: str) -> None:
    """The message says which variable, and which values are good."""
    with pytest.raises(SettingsError, match=rf"KAFKA_PORT={value} is not a port"):
        Settings.from_environment({"KAFKA_PORT": value})


def test_all_that_is_wrong_is_named_at_once() -> None:
    """Who mends one thing is not told of the next only then."""
    wrong = {"PORT": "http", "SINK_PORT": "-1", "MONGODB_URI": "mongodb://a", "USE_KAFKA_BOOTSTRAP_SERVERS": "1"}
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(wrong)
    assert [line.split()[0] for line in str(refused.value).splitlines()] == [
        "PORT=http",
        "SINK_PORT=-1",
        "MONGODB_URI",
        "USE_KAFKA_BOOTSTRAP_SERVERS=1,",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("MONGODB_URI", "mongodb://ann:secret@db:27017/?tls=true"), ("KAFKA_BOOTSTRAP_SERVERS", "k:9092")],
)
def test_a_database_of_somebody_else_is_used_only_when_a_second_setting_says_so(name: str, value: str) -> None:
    """Whoever exports the URI for `orders`, which only reads, does not want a shop set up there by `make run`."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({name: value})
    said = str(refused.value)
    assert f"USE_{name}=1" in said
    assert "Nothing was done there" in said
    assert f"unset {name}" in said
    assert ("db:27017" if "@" in value else value) in said
    assert "secret" not in said
    settings = Settings.from_environment({name: value, f"USE_{name}": "1"})
    assert value in (settings.mongodb_uri, settings.kafka_bootstrap_servers)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"USE_MONGODB_URI": "1"}, "USE_MONGODB_URI=1, but MONGODB_URI is not set"),
        ({"USE_MONGODB_URI": "no", "MONGODB_URI": "mongodb://a"}, "USE_MONGODB_URI=no is neither"),
    ],
)
def test_a_second_setting_that_says_nothing_is_named(variables: dict[str, str], said: str) -> None:
    """A database is never chosen by a guess."""
    with pytest.raises(SettingsError, match=said):
        Settings.from_environment(variables)


def test_ports_in_use_are_all_named_at_once_with_a_command_that_keeps_the_other_settings(tmp_path: Path) -> None:
    """The command can be pasted: its ports are free, and nothing that was given is lost."""
    with contextlib.ExitStack() as listening:
        names = ("PORT", "SINK_PORT", "MONGODB_PORT")
        taken = {name: listening.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names}
        given = {name: str(server.getsockname()[1]) for name, server in taken.items()}
        given |= {"LOCAL_DIR": f"{tmp_path}/it's here", "LOG": "1"}
        given |= {"KAFKA_BOOTSTRAP_SERVERS": "k:9092", "USE_KAFKA_BOOTSTRAP_SERVERS": "1"}
        with pytest.raises(SettingsError) as refused:
            Ports().claim(Settings.from_environment(given))
        *faults, advice = str(refused.value).splitlines()
        assert faults == [f"port {given[name]} ({name}) is in use: stop what listens there" for name in names]
        *words, make, run = shlex.split(advice.partition(": ")[2])
        assert [make, run] == ["make", "run"]
        advised = dict(word.split("=", 1) for word in words)
        assert set(advised) == set(given)
        assert {name for name in given if advised[name] != given[name]} == set(names)
        assert len(Ports().claim(Settings.from_environment(advised))) == 3


def test_a_command_shows_no_password() -> None:
    """It names the variable instead, which is exported."""
    settings = Settings(mongodb_uri="mongodb://ann:secret@db/", port=80)
    assert settings.command({"PORT": 8081}) == 'PORT=8081 MONGODB_URI="$MONGODB_URI" USE_MONGODB_URI=1 make run'


def test_equal_ports_are_refused_and_free_ones_offered() -> None:
    """Two parts cannot listen on one port; whichever came second would say something else."""
    port = Ports().free()
    with pytest.raises(SettingsError) as refused:
        Ports().claim(Settings(port=port, sink_port=port, mongodb_port=0, kafka_port=port))
    said = str(refused.value)
    assert f"PORT and SINK_PORT are both {port}" in said
    assert f"PORT and KAFKA_PORT are both {port}" in said
    advised = dict(word.split("=") for word in said.rpartition(": ")[2].split() if "=" in word)
    assert len({advised["PORT"], advised["SINK_PORT"], advised["KAFKA_PORT"]}) == 3
    assert advised["PORT"] == str(port)


def test_a_port_that_needs_root_is_named_with_what_to_do() -> None:
    """Port 80 is what the seed's collection calls."""
    ports = Ports(refused=lambda port: errno.EACCES if port < 1024 else None)
    with pytest.raises(SettingsError, match=r"port 80 \(PORT\) needs root.*ip_unprivileged_port_start=80") as refused:
        ports.claim(Settings(port=80))
    assert str(refused.value).endswith(
        "Or choose free ports: PORT=8080 make run"
    )  # the default, yet 80 may be exported


def test_no_fixed_port_is_handed_out_as_a_free_one() -> None:
    """Whatever takes free ones, a test or another stack, would keep `make run` from starting by chance."""
    assert not set(Settings().ports.values()) & set(FREE_PORTS)


def test_a_port_that_was_asked_for_is_not_handed_out_to_another_part() -> None:
    """Nobody listens there before the stack starts, so a free port may be one that was asked for."""
    asked_for = Ports().free()
    offered = iter([1, 2, 3, asked_for, asked_for + 1])
    ports = Ports(offer=lambda: next(offered))
    ports.claim(Settings(port=0, mongodb_port=asked_for, kafka_port=0, sink_port=0))
    assert ports.free() == asked_for + 1
    assert Ports().again(asked_for) == asked_for


def test_a_library_that_mongod_needs_is_named_with_the_command_that_installs_it() -> None:
    """The usual thing that is missing on a bare machine."""

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(SettingsError, match="apt-get install libcurl4"):
        binary(load=missing, which=nowhere)


def nowhere(program: str) -> None:
    """Find nothing on PATH."""


def test_a_machine_without_a_mongod_is_told_what_to_do() -> None:
    """The packages with mongod have it for three kinds of machine."""
    with pytest.raises(SettingsError, match=r"`mongod` is on PATH, or set MONGODB_URI"):
        binary(machine="riscv64", which=nowhere)


@pytest.mark.parametrize(("system", "machine"), [("Linux", "aarch64"), ("Darwin", "arm64")])
def test_the_packages_mongod_is_used_on_arm_too(system: str, machine: str) -> None:
    """On a Mac without asking for libcurl, which comes with the system there."""
    assert binary(machine, system=system, which=nowhere).name == "mongod"


def test_a_mongod_on_path_counts_where_none_comes_along() -> None:
    """As an Intel Mac has it from Homebrew."""
    assert binary("x86_64", system="Darwin", which=lambda name: f"/opt/{name}") == Path("/opt/mongod")


def test_an_envoy_is_that_of_the_package() -> None:
    """One on PATH counts only where there is none."""
    assert envoy.program(which=nowhere).exists()


def test_free_ports_are_handed_out_once() -> None:
    """Parts that start later must not find their port taken by a sibling."""
    ports = Ports()
    taken = [ports.free() for _ in range(200)]
    assert len(set(taken)) == len(taken)

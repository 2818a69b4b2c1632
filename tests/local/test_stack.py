"""The stack does what the manifests say, and comes back from whatever is killed in it."""

import asyncio
import dataclasses
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local.folder import ADDRESSES
from local.manifests import Patch
from local.servers.child import die_with_parent
from local.servers.parts import Keeper, PartFailedError, Server
from local.settings import ROOT, SettingsError
from local.stack import ENVOY, MONGOD, Stack
from tests.support.stack_fixtures import eventually, free


@pytest.fixture(scope="module")
async def customer() -> AsyncIterator[aiohttp.ClientSession]:
    """Call the shop as a customer does."""
    async with aiohttp.ClientSession() as session:
        yield session


async def call(customer: aiohttp.ClientSession, method: str, url: str, **body: object) -> tuple[int, Any]:
    """Return status and answer."""
    async with customer.request(method, url, json=body or None) as answer:
        return answer.status, await answer.json() if answer.content_type == "application/json" else await answer.text()


async def error(customer: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what a GET that went wrong tells a program: its status, the code, and whether it may be sent again."""
    async with customer.get(url, headers=headers) as answer:
        told = await answer.json()  # refuses what is not application/json
        assert set(told) == {"status", "message", "code"}
        assert told["status"] is False
        return {"status": answer.status, "code": told["code"], "again": answer.headers.get("Retry-After")}


async def status(customer: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None) -> int:
    """Return the status of a GET."""
    async with customer.get(url, headers=headers) as answer:
        return answer.status


def host(service: str) -> dict[str, str]:
    """Ask for a Service by its own host name."""
    return {"Host": f"{service}.shop.localhost:8080"}


async def order(stack: Stack, customer: aiohttp.ClientSession, user: str) -> None:
    """Order a basket and wait until it is paid, through every part of the stack."""
    assert (await call(customer, "POST", f"{stack.url}/CreateUser", user=user))[0] == 200
    assert (await call(customer, "POST", f"{stack.url}/DepositCash", user=user, sum=100))[0] == 200
    _, basket = await call(customer, "GET", f"{stack.url}/GetBasket", user=user)
    body = {"user": user, "basket": basket["basket"], "sum": 10}
    assert (await call(customer, "POST", f"{stack.url}/Order", **body))[0] == 200

    async def notified() -> bool:
        _, paid = await call(customer, "GET", f"{stack.url}/GetOrder", user=user, basket=basket["basket"])
        _, listed = await call(customer, "GET", f"{stack.url}/List", user=user)
        return paid["message"] == "paid" and len(listed["notifications"]) > 0

    await eventually(notified)


async def test_an_order_passes_through_all_of_it(stack: Stack, customer: aiohttp.ClientSession) -> None:
    """Ingress, functions, sink, Kafka, source and MongoDB are connected as the manifests say."""
    await order(stack, customer, "Павел")


async def test_a_public_service_answers_on_its_own_host_at_any_path(
    stack: Stack, customer: aiohttp.ClientSession
) -> None:
    """Knative routes by Host alone."""
    for path in ("", "/", "/GetBasket", "/any/other"):
        assert await status(customer, f"{stack.url}{path}?user=Ann", host("get-basket")) == 200


async def test_the_route_answers_its_paths_on_any_other_host(stack: Stack, customer: aiohttp.ClientSession) -> None:
    """Whatever name the machine is called by."""
    for headers in ({"Host": "shop.example.com"}, {"Host": "[::1]:8080"}, {}):
        assert await status(customer, f"{stack.url}/GetBasket?user=Ann", headers) == 200


@pytest.mark.parametrize("path", ["", "/", "/getbasket", "/GetBasket/", "/GetBasket/x", "/healthz", "/billing-handler"])
async def test_other_paths_are_not_found(stack: Stack, customer: aiohttp.ClientSession, path: str) -> None:
    """The paths are exact."""
    told = await error(customer, f"{stack.url}{path}?user=Ann")
    assert told == {"status": 404, "code": "no_such_path", "again": None}


@pytest.mark.parametrize("service", ["billing-handler", "order-handler", "notify-handler", "resend-orders", "unknown"])
async def test_a_cluster_local_service_is_not_found(
    stack: Stack, customer: aiohttp.ClientSession, service: str
) -> None:
    """A customer can forge no decision."""
    assert (await error(customer, f"{stack.url}/healthz", host(service)))["code"] == "no_such_path"


async def test_a_function_sees_the_environment_that_knative_gives(stack: Stack) -> None:
    """It sees what the manifest and its binding say, and nothing of ours."""
    assert environment(stack.pid("billing-handler")) == {
        **{name: os.environ[name] for name in ("PATH", "HOME")},
        "HOST": "127.0.0.1",
        "PORT": stack.function_url("billing-handler").rpartition(":")[2],
        "K_SERVICE": "billing-handler",
        "K_CONFIGURATION": "billing-handler",
        "K_REVISION": "billing-handler-00001",
        "K_SINK": stack.sink_url("results"),
        "K_CE_OVERRIDES": "",
        "FUNCTION_TARGET": "billing_handler",
        "MONGODB_URI": stack.mongodb_uri,
        "ARRAY_LIMIT": "64",
        "ARCHIVE_BATCH": "32",
    }


async def test_a_function_without_binding_has_no_sink(stack: Stack) -> None:
    """Only what emits knows where to."""
    assert "K_SINK" not in environment(stack.pid("get-basket"))


async def test_a_tick_reaches_its_function(stack: Stack) -> None:
    """Tests need not wait for the minute."""
    assert await stack.pings["resend-orders"].tick() == 200


async def test_a_part_that_was_stopped_stays_down_until_it_is_started(
    stack: Stack, customer: aiohttp.ClientSession
) -> None:
    """Meanwhile the answer is in the form of a function's: nothing was done, and the request may be sent again."""
    await stack.stop_part("get-order")
    with pytest.raises(LookupError, match="get-order does not run"):
        stack.pid("get-order")
    told = await error(customer, f"{stack.url}/GetOrder")
    assert told == {"status": 503, "code": "function_unavailable", "again": "1"}
    await stack.start_part("get-order")
    assert await status(customer, f"{stack.url}/GetOrder") == 400


async def test_a_request_whose_function_is_killed_meanwhile_may_have_been_done(
    stack: Stack, customer: aiohttp.ClientSession
) -> None:
    """So there is no Retry-After: it promises that a repeat without a key is safe."""
    frozen = stack.pid("get-order")
    os.kill(frozen, signal.SIGSTOP)
    asked = asyncio.create_task(error(customer, f"{stack.url}/GetOrder"))
    await asyncio.sleep(0.5)  # until it is with the function, which cannot tell
    await stack.kill("get-order")
    assert await asked == {"status": 503, "code": "no_answer", "again": None}
    await stack.wait_ready("get-order")


async def test_what_is_no_http_is_refused_in_the_same_form(stack: Stack, customer: aiohttp.ClientSession) -> None:
    """Headers that are too long reach no function."""
    told = await error(customer, f"{stack.url}/GetOrder", {"X-Long": "x" * 70_000})
    assert told == {"status": 431, "code": "malformed_request", "again": None}


async def test_the_processes_of_the_functions_are_told_apart_by_their_command(stack: Stack) -> None:
    """`ps` shows it."""
    for service in stack.manifests.services:
        assert command(stack.pid(service.name))[1:] == ["-m", "shop.serve", service.name]


@pytest.mark.ci
async def test_everything_comes_back_after_sigkill(stack: Stack, customer: aiohttp.ClientSession) -> None:
    """Functions, sink, source, Kafka, mongod and Envoy, killed at once, are started again, and orders pass."""
    parts = [
        *("mongod", "kafka", "kafka-sink", "kafka-source", "envoy"),
        *(service.name for service in stack.manifests.services),
    ]
    before = {part: stack.pid(part) for part in parts}
    await asyncio.gather(*map(stack.kill, parts))
    await stack.wait_ready()
    assert all(stack.pid(part) != before[part] for part in parts)
    await order(stack, customer, "after SIGKILL")


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_stacks_run_beside_each_other_with_their_own_settings(
    stack: Stack, customer: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A second stack has its own data, patches and environment, shows logs, and leaves nothing behind."""
    patches = [
        Patch("KafkaSource", "billing-handler", "/spec/delivery/retry", 1),
        Patch("Service", "get-order", "/spec/template/spec/timeoutSeconds", 1),
    ]
    overrides = {"billing-handler": {"ARRAY_LIMIT": "4", "ARCHIVE_BATCH": "2"}}
    said: list[str] = []
    settings = dataclasses.replace(free(tmp_path), echo_logs=True)
    async with Stack(settings, patches=patches, env_overrides=overrides, report=said.append) as other:
        await order(other, customer, "Ann")
        assert environment(other.pid("billing-handler"))["ARRAY_LIMIT"] == "4"
        assert '"retry": 1,' in (tmp_path / "kafka-source.json").read_text()
        assert (await call(customer, "GET", f"{stack.url}/GetUser", user="nobody here"))[0] == 404
        await eventually_said(said, "billing-handler", '"outcome": "paid"')

        os.kill(other.pid("get-order"), signal.SIGSTOP)
        told = await error(customer, f"{other.url}/GetOrder")
        assert told == {"status": 504, "code": "no_answer", "again": None}
        os.kill(other.pid("get-order"), signal.SIGCONT)
        assert await status(customer, f"{other.url}/GetOrder") == 400
        pids = [other.pid(part) for part in ("mongod", "kafka", "envoy", "get-basket")]
    assert not any(map(runs, pids))


async def eventually_said(said: list[str], *texts: str) -> None:
    """Wait until one line that was reported has all of these texts."""

    async def is_said() -> bool:
        return any(all(text in line for text in texts) for line in said)

    await eventually(is_said)


async def test_a_stack_that_cannot_start_leaves_nothing_running(tmp_path: Path) -> None:
    """A function that ends at once is an error with the end of its log, and everything else is stopped again."""
    broken = Patch("Service", "get-user", "/spec/template/spec/containers/0/env/0/value", "no_such_function")
    stack = Stack(free(tmp_path), patches=[broken])
    with pytest.raises(PartFailedError, match="get-user did not start: it ended with status"):
        async with stack:
            pytest.fail("it has started")
    for part in ("mongod", "kafka", "get-user", "get-basket", "kafka-sink"):
        with pytest.raises(LookupError):
            stack.pid(part)


async def test_a_port_that_another_stack_has_is_named(stack: Stack, tmp_path: Path) -> None:
    """Two stacks with the same settings do not fight."""
    port = int(stack.url.rpartition(":")[2])
    with pytest.raises(SettingsError, match=rf"port {port} \(PORT\) is in use"):
        Stack(dataclasses.replace(free(tmp_path), port=port))


async def test_a_folder_that_another_stack_has_is_named(stack: Stack) -> None:
    """Two stacks never share data; the logs of the one that runs stay as they are. The message says where it is.

    Whoever types `make run` twice is not told of ports, which are in use because of it.
    """
    before = stack.log_file("mongod").stat().st_ino
    port = int(stack.url.rpartition(":")[2])
    with pytest.raises(SettingsError, match=r"a stack runs here already") as refused:
        Stack(dataclasses.replace(free(stack.folder), port=port))
    said = str(refused.value)
    assert f": {stack.url}\n" in said
    assert re.search(rf" LOCAL_DIR={stack.folder.parent}/stack\d+ make run$", said)
    assert re.search(r" PORT=\d+ ", said)
    assert f"PORT={port} " not in said
    assert stack.log_file("mongod").stat().st_ino == before


@pytest.mark.long
async def test_a_part_that_ends_while_the_stack_stops_is_not_started_again(tmp_path: Path) -> None:
    """Fault 27: systemd signals every process, so mongod ends before its turn, while functions still finish."""
    said: list[str] = []
    says_ready = "print('is ready', flush=True); import time; time.sleep(60)"
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {says_ready}"
    stack = Stack(free(tmp_path))
    stack._keepers = {
        name: Keeper(
            name, Server([sys.executable, "-c", program], tmp_path / f"{name}.log", stop_timeout_s=1.5), said.append
        )
        for name, program in ((ENVOY, stubborn), (MONGOD, says_ready))
    }
    for keeper in stack._keepers.values():
        await keeper.start()
    mongod = stack._keepers[MONGOD].part.process
    assert mongod
    stopping = asyncio.create_task(stack._stop())
    await asyncio.sleep(0.1)
    mongod.terminate()
    await stopping
    assert stack._keepers[MONGOD].part.process is mongod
    assert [line.split()[:2] for line in said] == [[ENVOY, "ready"], [MONGOD, "ready"]]


async def run(variables: Mapping[str, str]) -> tuple[asyncio.subprocess.Process, str]:
    """Start `python -m local` as `make run` does, and return it with its URL once it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local"),
        cwd=ROOT,
        env=variables,
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    assert process.stdout
    async with asyncio.timeout(240):  # as long as Kafka may take on a busy machine
        while line := (await process.stdout.readline()).decode():
            if line.startswith("Ready"):
                return process, line.split(" on ")[1].split(";")[0]
    raise AssertionError("it ended before it was ready")


def environment(pid: int) -> dict[str, str]:
    """Return the environment a process was started with."""
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(variable.split("=", 1) for variable in variables if variable)


def command(pid: int) -> list[str]:
    """Return the words a process was started with."""
    return Path(f"/proc/{pid}/cmdline").read_text().removesuffix("\0").split("\0")


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet has."""
    return Path(f"/proc/{pid}/exe").exists()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.ci
@pytest.mark.timeout(600)
async def test_make_run_leaves_nothing_running_and_finds_its_data_again(
    customer: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """SIGKILL of the stack, then a second start in the same folder, and Ctrl-C; functions keep their addresses."""
    free_ports = dict.fromkeys(("PORT", "MONGODB_PORT", "KAFKA_PORT", "SINK_PORT"), "0")
    own = {name: value for name, value in os.environ.items() if name != "MONGODB_URI"}  # other tests' mongod
    variables = {**own, **free_ports, "LOCAL_DIR": str(tmp_path)}
    functions = []
    for number, ends_with in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 0)):
        process, url = await run(variables)
        created = await customer.post(f"{url}/CreateUser", json={"user": "Pavel"})
        assert ("Idempotent-Replayed" in created.headers) == (number == signal.SIGINT)
        functions.append(json.loads((tmp_path / ADDRESSES).read_text())["functions"])
        started = children(process.pid)
        assert len(started) >= 16
        process.send_signal(number)
        assert await process.wait() == ends_with

        async def all_gone(started: list[int] = started) -> bool:
            return not any(map(runs, started))

        await eventually(all_gone)
    assert functions[0] == functions[1]

"""A function as a real process: what a container runs answers real HTTP as the function does in tests."""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from local.ports import free_port
from local.servers.mongodb import Mongod
from local.servers.probe import answers
from shop import orders
from shop.edge import handling
from shop.schema.orders_pb2 import OrderRequest
from shop.store.client import collection
from tests.support import openapi
from tests.support.asgi import Answer
from tests.support.own_servers import given
from tests.support.processes import Process, read_answer, serving, shop_serve

PAVEL = b'{"user": "Pavel"}'


def chunked(*pieces: bytes) -> bytes:
    """Return a body in chunked transfer coding, one chunk per piece."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def head(method: str, path: str, *headers: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", "")).encode()


async def check_requests(create_user: Process, get_user: Process) -> None:
    """See that every form of request gets its answer."""
    over = b" " * (handling.MAX_BODY + 1)
    endless = head("POST", "/CreateUser", "Transfer-Encoding: chunked") + b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    in_chunks = head("POST", "/CreateUser", "Transfer-Encoding: chunked") + chunked(PAVEL[:5], PAVEL[5:])
    expected: list[tuple[int, str, Answer]] = [
        (200, "/CreateUser", await create_user.send("POST", "/CreateUser", PAVEL)),
        (200, "/CreateUser", await create_user.send("POST", "/", PAVEL, "Content-Type: text/plain", "Host: a.b:1")),
        (200, "/CreateUser", await create_user.raw(in_chunks)),
        (413, "/CreateUser", await create_user.send("POST", "/CreateUser", over)),
        (413, "/CreateUser", await create_user.raw(endless + b"F001\r\n" + b" " * 0xF001)),  # its end is never sent
        (400, "/CreateUser", await create_user.send("POST", "/CreateUser")),
        (405, "/CreateUser", await create_user.send("DELETE", "/CreateUser")),
        (200, "/GetUser", await get_user.send("GET", "/GetUser", PAVEL)),
        (200, "/GetUser", await get_user.send("GET", "/GetUser?user=Pavel")),
        (200, "/GetUser", await get_user.send("GET", "/any?user=%50avel", b"", "Host: [::1]:80")),
        (400, "/GetUser", await get_user.send("GET", "/GetUser?user=%FF")),
        (404, "/GetUser", await get_user.send("GET", "/GetUser", '{"user": "Олга"}'.encode())),
        (413, "/GetUser", await get_user.send("GET", "/GetUser", over)),
    ]
    for status, path, answer in expected:
        assert answer.status == status, answer
        openapi.check_answer(path, answer.status, answer.headers, answer.body)


async def test_a_container_serves_real_http(mongod: Mongod, shop: None) -> None:
    """A GET with a JSON body, any Host, no Content-Type, chunked bodies, bodies over the limit."""
    async with AsyncExitStack() as stack:
        functions = ("create_user", "get_user")
        create_user, get_user = await asyncio.gather(
            *(stack.enter_async_context(shop_serve(function, MONGODB_URI=mongod.uri)) for function in functions)
        )
        await check_requests(create_user, get_user)


async def test_the_plain_framework_serves_the_same(mongod: Mongod, shop: None) -> None:
    """`functions-framework --asgi` runs a function as it is."""
    framework = str(Path(sys.executable).parent / "functions-framework")
    async with AsyncExitStack() as stack:
        functions = ("create_user", "get_user")
        create_user, get_user = await asyncio.gather(
            *(
                stack.enter_async_context(
                    serving(
                        (framework, "--asgi", "--target", function, "--source", f"functions/{function}/main.py"),
                        {"MONGODB_URI": mongod.uri},
                    )
                )
                for function in functions
            )
        )
        await check_requests(create_user, get_user)


async def test_without_mongodb_a_function_is_healthy_and_answers_503_in_time() -> None:
    """With `Retry-After`, for a deposit without a key too: MongoDB was not asked for it yet, so it was not made."""
    uri = f"mongodb://127.0.0.1:{free_port()}/?directConnection=true"
    async with shop_serve("deposit_cash", MONGODB_URI=uri) as deposit_cash:
        deposit = b'{"user": "Pavel", "sum": 10}'
        started = time.monotonic()
        with_key, without_key = await asyncio.gather(
            deposit_cash.send("POST", "/DepositCash", deposit, "Idempotency-Key: a"),
            deposit_cash.send("POST", "/DepositCash", deposit),
        )
        assert time.monotonic() - started < handling.DEADLINE_S
        assert (await deposit_cash.send("GET", "/healthz")).status == 200
    for answer in (with_key, without_key):
        assert answer.status == 503
        openapi.check_answer("/DepositCash", answer.status, answer.headers, answer.body)
        assert int(answer.headers["retry-after"]) >= 1
        assert "unknown" not in answer.message


async def test_sigterm_drains_what_is_in_flight(mongod: Mongod, shop: None) -> None:
    """No new connection is taken, the request in hand is answered, then the process ends."""
    async with shop_serve("create_user", MONGODB_URI=mongod.uri) as create_user:
        reader, writer = await asyncio.open_connection("127.0.0.1", create_user.port)
        writer.write(head("POST", "/CreateUser", f"Content-Length: {len(PAVEL)}", "Expect: 100-continue"))
        assert b"100" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)  # the function is reading the body
        create_user.terminate()
        async with asyncio.timeout(10):
            while await answers(create_user.port):  # noqa: ASYNC110 - another process; nobody tells
                await asyncio.sleep(0.02)
        for byte in PAVEL:  # a client that takes most of a second, longer than a process takes to end
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        assert (await asyncio.wait_for(read_answer(reader), 10)).status == 200
        writer.close()
        await asyncio.wait_for(create_user.process.wait(), 10)


async def test_sigterm_answers_at_once_who_waits_for_an_outcome(mongod: Mongod, shop: None) -> None:
    """With what is known: the process ends long before their time is up, and who comes late waits no more."""
    basket = await orders.current_basket("Pavel")
    await orders.place(OrderRequest(user="Pavel", basket=str(basket["_id"]), sum=10))
    path = f"/GetOrder?user=Pavel&basket={basket['_id']}&wait=20"
    async with shop_serve("get_order", MONGODB_URI=mongod.uri) as get_order:
        late, writer = await asyncio.open_connection("127.0.0.1", get_order.port)
        writer.write(head("GET", path, "Content-Length: 2", "Expect: 100-continue"))
        assert b"100" in await asyncio.wait_for(late.readuntil(b"\r\n\r\n"), 10)  # the function is reading the body
        waits = [asyncio.create_task(get_order.send("GET", path)) for _ in range(20)]
        await asyncio.sleep(1)
        began = time.monotonic()
        get_order.terminate()
        answers = await asyncio.gather(*waits)
        writer.write(b"{}")
        answers.append(await asyncio.wait_for(read_answer(late), 10))
        writer.close()
        await asyncio.wait_for(get_order.process.wait(), 10)
        assert time.monotonic() - began < 8
    assert {(answer.status, answer.json["outcome"]) for answer in answers} == {(200, "pending")}


async def test_nobody_looks_for_a_client_that_hung_up(mongod: Mongod, shop: None) -> None:
    """The server says when it did."""
    if given().mongodb_uri:
        pytest.skip("needs a mongod that nobody else asks: it counts the queries")
    basket = await orders.current_basket("Pavel")
    await orders.place(OrderRequest(user="Pavel", basket=str(basket["_id"]), sum=10))
    looks = collection("orders", "baskets").database.client.admin
    async with shop_serve("get_order", MONGODB_URI=mongod.uri) as get_order:

        async def finds() -> int:
            return int((await looks.command("serverStatus"))["opcounters"]["query"])

        _, writer = await asyncio.open_connection("127.0.0.1", get_order.port)
        before = await finds()
        writer.write(head("GET", f"/GetOrder?user=Pavel&basket={basket['_id']}&wait=20"))
        async with asyncio.timeout(10):
            while await finds() < before + 6:  # noqa: ASYNC110 - another process; nobody tells
                await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.5)
        before = await finds()
        await asyncio.sleep(1)
        assert await finds() == before


@pytest.mark.parametrize(
    ("environment", "named"),
    [({"FUNCTION_TARGET": ""}, "FUNCTION_TARGET"), ({"FUNCTION_TARGET": "no_such"}, "functions/no_such/main.py")],
)
async def test_a_process_that_cannot_serve_says_why(environment: dict[str, str], named: str) -> None:
    """It ends at once, with a line and without a trace."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shop.serve"), env=environment, cwd=openapi.ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, error = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert named in error.decode()
    assert "Traceback" not in error.decode()


async def test_a_message_is_one_line_of_json_in_the_log() -> None:
    """Function, key, outcome and duration, whatever the customer's name is."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOGGED), cwd=openapi.ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["key"] for line in lines] == ["Павел", "\ud800", "a\nb"]
    assert all(line["outcome"] == "done" and line["duration_ms"] == 1500.0 for line in lines)


LOGGED = r"""
from shop.process import log
log.to_stdout()
for key in ("Павел", "\ud800", "a\nb"):
    log.handled(key, "done", 1.5)
"""

"""A label is short, says what its function takes, answers and emits, and is held to it: by mypy, and at run time."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shop.edge.asgi import Request
from shop.edge.call import calls
from shop.edge.handling import Label, label_of
from shop.schema import billing_pb2, events_pb2, notify_pb2, orders_pb2
from tests.support.functions import folders

ROOT = Path(__file__).parents[3]
NAMES = folders()

LABELS = {
    "create_user": Label(
        "billing", "POST", billing_pb2.CreateUserRequest, billing_pb2.CreateUserResponse, needs="admin"
    ),
    "deposit_cash": Label(
        "billing", "POST", billing_pb2.DepositCashRequest, billing_pb2.DepositCashResponse, needs="admin"
    ),
    "get_user": Label("billing", "GET", billing_pb2.GetUserRequest, billing_pb2.GetUserResponse),
    "get_basket": Label("orders", "GET", orders_pb2.GetBasketRequest, orders_pb2.GetBasketResponse),
    "create_order": Label(
        "orders", "POST", orders_pb2.OrderRequest, orders_pb2.OrderResponse, events_pb2.PaymentRequested, waits=True
    ),
    "get_order": Label("orders", "GET", orders_pb2.GetOrderRequest, orders_pb2.GetOrderResponse, waits=True),
    "billing_handler": Label("billing", "event", takes=events_pb2.PaymentRequested, emits=events_pb2.PaymentDecided),
    "order_handler": Label("orders", "event", takes=events_pb2.PaymentDecided),
    "notify_handler": Label("notify", "event", takes=events_pb2.PaymentDecided),
    "webhook_handler": Label("notify", "event", takes=events_pb2.PaymentDecided),
    "list_notify": Label("notify", "GET", notify_pb2.ListRequest, notify_pb2.ListResponse),
    "resend_orders": Label("orders", "tick", emits=events_pb2.PaymentRequested),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_function_is_a_label_and_at_most_ten_lines(name: str) -> None:
    """Its docstring and imports are the label's; what it does stands in orders, billing or notifications."""
    source = (ROOT / "functions" / name / "main.py").read_text()
    told = (ast.Import, ast.ImportFrom, ast.Expr)  # an Expr at the top is a docstring
    code = [node for node in ast.parse(source).body if not isinstance(node, told)]
    lines = sum(
        node.end_lineno - min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))]) + 1
        for node in code
        if node.end_lineno is not None
    )
    assert lines <= 10


@pytest.mark.parametrize("name", NAMES)
def test_a_label_can_be_read_off_a_function(name: str) -> None:
    """As the framework finds it, through all decorators; whoever lists functions asks it."""
    assert label_of(getattr(importlib.import_module(f"functions.{name}.main"), name)) == LABELS.get(name, LABELS)


HEAD = """\
from shop import billing, orders
from shop.edge import Answer, Call, consumer, get, post, tick
from shop.schema.billing_pb2 import GetUserRequest, GetUserResponse
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from shop.schema.orders_pb2 import GetOrderRequest, GetOrderResponse, OrderRequest, OrderResponse

"""

RIGHT = """
@post(OrderRequest, OrderResponse, emits=PaymentRequested)
async def order(request: OrderRequest, call: Call) -> Answer[OrderResponse]:
    ordered = await orders.order(request, call.emit, call.traceparent)
    return Answer(ordered.response, replayed=ordered.replayed)
"""

WRONG = {
    "another request": """
@get(GetUserRequest, GetUserResponse)
async def show(request: GetOrderRequest, _: Call) -> GetUserResponse:
    return GetUserResponse()
""",
    "another response": """
@get(GetOrderRequest, GetOrderResponse)
async def show(request: GetOrderRequest, _: Call) -> GetUserResponse:
    return GetUserResponse()
""",
    "another response in an answer": """
@post(OrderRequest, OrderResponse)
async def show(request: OrderRequest, _: Call) -> Answer[GetUserResponse]:
    return Answer(GetUserResponse())
""",
    "no response": """
@get(GetOrderRequest, GetOrderResponse)
async def show(request: GetOrderRequest, _: Call) -> None:
    pass
""",
    "no call": """
@get(GetOrderRequest, GetOrderResponse)
async def show(request: GetOrderRequest) -> GetOrderResponse:
    return GetOrderResponse()
""",
    "another event": """
@consumer(PaymentRequested, billing.SERVICE, emits=PaymentDecided)
async def show(decided: PaymentDecided, call: Call) -> str:
    return ""
""",
    "a message that is no event": """
@consumer(OrderRequest, billing.SERVICE)
async def show(request: OrderRequest, call: Call) -> str:
    return ""
""",
    "no outcome": """
@consumer(PaymentDecided, orders.SERVICE)
async def show(decided: PaymentDecided, _: Call) -> None:
    await orders.settle(decided)
""",
    "an event's decision that is asked for another": """
@consumer(PaymentDecided, billing.SERVICE, emits=PaymentDecided)
async def show(decided: PaymentDecided, call: Call) -> str:
    return await billing.charge(decided, call.emit, call.traceparent)
""",
    "a tick that takes an event": """
@tick(orders.SERVICE, deadline_s=1)
async def show(decided: PaymentDecided, call: Call) -> str:
    return ""
""",
}


def test_mypy_refuses_a_function_with_the_wrong_message_or_answer(tmp_path: Path) -> None:
    """One error for each that is wrong, at its place, and none for the one that is right."""
    files = {}
    for number, (what, text) in enumerate({"right": RIGHT, **WRONG}.items()):
        file = tmp_path / f"wrong_{number}.py"
        file.write_text(HEAD + text)
        files[file.name] = what
    command = (sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary")
    found = subprocess.run((*command, *map(str, tmp_path.iterdir())), cwd=ROOT, capture_output=True, text=True)
    refused = {files[name] for name in files if f"{name}:" in found.stdout}
    assert refused == WRONG.keys(), found.stdout + found.stderr


async def never() -> dict[str, object]:
    """Bring nothing more of a request."""
    raise AssertionError("nobody asks")


async def test_what_the_label_does_not_name_is_not_emitted(configure: Callable[..., None]) -> None:
    """A function that emits something else is a bug, found at its first message and not at its topic."""
    configure(sink="http://sink.invalid")
    request = Request({"type": "http", "headers": []}, never)
    for emits in (None, events_pb2.PaymentDecided):
        with pytest.raises(TypeError, match="PaymentRequested"):
            await calls(emits)(request, None).emit(events_pb2.PaymentRequested(), None)

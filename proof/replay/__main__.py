"""The proof at full size: `make replay-proof`, or `python -m proof.replay --orders 10000`.

A season of orders on a stack, recorded and replayed twice in an order of chance: nothing changes. Then the same against
functions with one bug each: something does. `--history 200000` measures record, replay and verify on a written history.
"""

import argparse
import asyncio
import re
import shlex
import sys
import tempfile
import time
from pathlib import Path

from local.program import Stopped, end_early, run, say
from local.servers.kafka_program import installed
from local.stack import KAFKA_SINK, KAFKA_SOURCE, Stack
from proof.replay.history import ORDERS_EACH, write_history
from proof.replay.season import pass_a_season
from tests.support.processes import shop_serve
from tests.support.sink import Sink
from tests.support.stack_fixtures import free

BUGS = (
    ("settlement does not look at the attempt", "order_handler"),
    ("a decline is not final", "billing_handler"),
    ("paid_baskets is not looked at", "billing_handler"),
)
_SEASON_ORDERS_EACH = 50
_SHOWN = 16


class Proof:
    """`orders`, run against a stack, with its output and time on the terminal."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.failures = 0

    async def orders(self, command: str, expected: int = 0) -> None:
        """Run a command, and note whether it ended as expected."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "operate.cli",
            *shlex.split(command),
            env={"LOCAL_DIR": str(self._stack.folder), "COLUMNS": "150"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        begun = time.monotonic()
        output, _ = await process.communicate()
        lines = output.decode().splitlines()
        shown = [*lines[:_SHOWN], "..."] if len(lines) > _SHOWN else lines
        say(
            "\n".join(
                [f"\n$ orders {command}", *shown, f"(exit {process.returncode}, {time.monotonic() - begun:.1f} s)"]
            )
        )
        if process.returncode != expected:
            say(f"FAILED: expected exit {expected}")
            self.failures += 1


async def prove(orders: int, folder: Path) -> int:
    """Pass a season, replay it, and replay it against each bug; return how much was not as it should be."""
    async with Stack(free(folder)) as stack:
        proof, begun = Proof(stack), time.monotonic()
        users = max(5, orders // _SEASON_ORDERS_EACH)
        passed = await pass_a_season(stack, users, _SEASON_ORDERS_EACH)
        say(f"{passed} orders of {users} customers in {time.monotonic() - begun:.0f} s")
        await stack.start_part(KAFKA_SINK)
        payments, results = folder / "payments.ndjson", folder / "results.ndjson"
        await proof.orders(f"event record --topic payments -o {payments}")
        await proof.orders(f"event record --topic results -o {results}")
        await proof.orders("verify --audit --older-than 1d")
        noop = "--twice --shuffle --seed 1 --expect-noop --resend-paused"
        await proof.orders(f"replay {payments} --to billing-handler {noop}")
        await proof.orders(f"replay {results} --to order-handler {noop}")
        await proof.orders(f"replay {results} --to notify-handler {noop}")
        await stack.stop_part(KAFKA_SOURCE)
        for bug, function in BUGS:
            say(f"\n--- the bug: {bug}")
            environment = {
                "MONGODB_URI": stack.mongodb_uri,
                "MUTANT": bug,
                "FUNCTION_SOURCE": "proof/replay/mutated.py",
            }
            file = payments if function == "billing_handler" else results
            async with Sink() as sink, shop_serve(function, K_SINK=sink.url, **environment) as served:
                await proof.orders(
                    f"replay {file} --to-url http://127.0.0.1:{served.port} --wait 0s {noop}", expected=1
                )
        return proof.failures


async def measure(orders: int, folder: Path) -> int:
    """Record, verify and replay a written history; return how much was not as it should be."""
    async with Stack(free(folder)) as stack:
        proof, begun = Proof(stack), time.monotonic()
        await stack.stop_part(KAFKA_SOURCE)
        write_history(stack, orders)
        say(f"{orders} orders of {orders // ORDERS_EACH} users written in {time.monotonic() - begun:.0f} s")
        payments = folder / "payments.ndjson"
        await proof.orders(f"event record --topic payments -o {payments}")
        await proof.orders("verify")
        await proof.orders("verify --audit")
        await proof.orders(f"replay {payments} --to billing-handler --expect-noop --shuffle --seed 1 --wait 0s")
        return proof.failures


def main() -> None:
    """Read how much, and run it."""
    parser = argparse.ArgumentParser(description=re.sub(r"\s+", " ", __doc__ or ""))
    parser.add_argument("--orders", type=int, default=10_000, help="orders of the season")
    parser.add_argument("--history", type=int, help="measure on a written history of so many orders instead")
    arguments = parser.parse_args()
    installed(say)
    with tempfile.TemporaryDirectory() as folder:
        work = measure(arguments.history, Path(folder)) if arguments.history else prove(arguments.orders, Path(folder))
        try:
            sys.exit(1 if run(work, say) else 0)
        except Stopped as stopped:
            end_early(stopped, "What is above was so; nothing more is proved.")


if __name__ == "__main__":
    main()

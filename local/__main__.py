"""Run the stack until Ctrl-C: `python -m local`, or `make run`."""

import asyncio
import os
import signal
import sys
import time

from local.kafka import KafkaFailedError, ensure_jars
from local.manifests import ManifestError
from local.parts import PartFailedError
from local.settings import Settings, SettingsError
from local.stack import Stack


def main() -> None:
    """Start everything, say how to use it, and stop everything on Ctrl-C or SIGTERM."""
    try:
        asyncio.run(_run())
    except (SettingsError, ManifestError, PartFailedError, KafkaFailedError) as failure:
        sys.exit(f"{failure}")
    except asyncio.CancelledError:
        _say("Stopped; `make run` finds the data again, `make clean` removes it.")


async def _run() -> None:
    begun = time.monotonic()
    settings = Settings.from_environment(os.environ)
    running = asyncio.current_task()
    assert running is not None  # noqa: S101
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)  # a second Ctrl-C does not wait: the kernel ends what this process started
        _say(f"{number.name}: stopping")
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)

    stack = Stack(settings, report=_say)
    if settings.kafka_bootstrap_servers is None:
        await asyncio.to_thread(ensure_jars, _say)
    async with stack:
        _say(
            f"\nReady after {time.monotonic() - begun:.1f} s on {stack.url}; logs are in {stack.log_file('*').parent}\n"
        )
        for route in stack.manifests.routes:
            _say(f"  {stack.url + route.path:<40} {stack.host_url(route.service.name)}")
        _say(f"""\nTry: curl {stack.url}/CreateUser -d '{{"user": "Pavel"}}'\n""")
        await asyncio.Event().wait()


def _say(line: str) -> None:
    print(line, flush=True)


main()

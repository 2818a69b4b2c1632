"""Run the stack until it is told to stop, or its parent has ended: `python -m local`, or `make run`."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from local.fields import ManifestError
from local.folder import LOGS
from local.program import Stopped, Voice, aside, run
from local.servers.kafka_program import installed
from local.servers.parts import PartFailedError
from local.settings import ROOT, Settings, SettingsError
from local.stack import Stack

CONSOLE: Final = "console"
"""The Service of the console: whoever uses this machine may push its buttons."""


def main() -> None:
    """Start everything, say how to use it, and stop everything when it is asked to end."""
    voice = Voice()
    try:
        run(_run(voice.say), voice.say)
    except (SettingsError, ManifestError, PartFailedError) as failure:
        sys.exit(f"{failure}")
    except Stopped:
        voice.say("Stopped; `make run` finds the data again, `make clean` removes it.")
    finally:
        voice.finish()


async def _run(say: Callable[[str], None]) -> None:
    begun = time.monotonic()
    settings = replace(Settings.from_environment(os.environ), manifests=ROOT / "local" / "operated")
    stack = Stack(settings, env_overrides={CONSOLE: {"CONSOLE_PUSH": "anybody"}}, report=say)
    if settings.kafka_bootstrap_servers is None:
        await aside(lambda: installed(say))
    async with stack:
        say(
            f"\nReady after {time.monotonic() - begun:.1f} s on {stack.url}; logs are in {settings.folder / LOGS}\n\n"
            f"  {'for customers':<40} the function's own address"
        )
        for route in stack.manifests.routes:
            say(f"  {stack.url + route.path:<40} {stack.host_url(route.service.name)}")
        if stack.zipkin_url is not None:
            say(f"\nTraces:  {stack.zipkin_url}/zipkin/")
        say(f"\nConsole: {stack.function_url(CONSOLE)}")
        if not settings.auth:
            say("\nNo token is demanded: whoever reaches these addresses acts for any user.")
        say(f"""\nTry: curl {stack.url}/CreateUser -d '{{"user": "Pavel"}}'\n""")
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()

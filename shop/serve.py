"""Run one function: `python -m shop.serve` is what a container starts.

One process and no workers: Knative Serving scales by containers. The app is the framework's own, for `FUNCTION_TARGET`
from `FUNCTION_SOURCE` (functions/<target>/main.py), so that plain `functions-framework --asgi` serves the same.
"""

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress

import uvicorn
from functions_framework.aio import create_asgi_app
from functions_framework.exceptions import FunctionsFrameworkException

from shop import waiting
from shop.process import log, process

KEEP_ALIVE_S = 120
"""How long an idle connection stays open: longer than any proxy in front keeps it, so that the proxy closes first and a
request never meets a connection that is just being closed."""

DRAIN_S = 22
"""How long requests in flight may go on after SIGTERM: until a body has come, a function's own deadline, and some. Only
a tick of resend_orders may take longer, and what it claimed is due again later."""


class _Server(uvicorn.Server):
    """The server, which lets nobody wait for an outcome once it ends: that would only keep the process."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer who waits, and what else is in flight, then end."""
        waiting.everybody().end()
        await super().shutdown(sockets)


def main(environment: Mapping[str, str] = os.environ) -> None:
    """Serve until SIGTERM, then finish what is in flight. The framework's own variables are in the environment."""
    target = environment.get("FUNCTION_TARGET")
    if not target:
        sys.exit("FUNCTION_TARGET is not set; name a folder of functions/, such as FUNCTION_TARGET=get_basket")
    settings = process.start().settings
    log.to_stdout()
    try:
        app = create_asgi_app(target, environment.get("FUNCTION_SOURCE", f"functions/{target}/main.py"))
    except FunctionsFrameworkException as error:
        sys.exit(f"{error}; run it where functions/ is, or set FUNCTION_SOURCE")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    with suppress(KeyboardInterrupt):
        _Server(config).run()


if __name__ == "__main__":
    main()

"""Run one function: `python -m shop.serve` is what a container starts.

One process and no workers: Knative Serving scales by containers. The app is the framework's own, for `FUNCTION_TARGET`
from `FUNCTION_SOURCE` (functions/<target>/main.py), so that plain `functions-framework --asgi` serves the same. What it
would hand to a function of ours goes there straight: its routes and middleware cost more than the function.
"""

import os
import re
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

import uvicorn
from functions_framework.aio import create_asgi_app
from functions_framework.exceptions import FunctionsFrameworkException
from starlette.routing import Route

from shop import waiting
from shop.edge.asgi import App, Receive, Scope, Send
from shop.edge.handling import app_of
from shop.process import log, process

KEEP_ALIVE_S = 120
"""How long an idle connection stays open: longer than any proxy in front keeps it, so that the proxy closes first and a
request never meets a connection that is just being closed."""

DRAIN_S = 22
"""How long requests in flight may go on after SIGTERM: until a body has come, a function's own deadline, and some. Only
a tick of resend_orders may take longer, and what it claimed is due again later."""


def app(target: str, source: str) -> App:
    """Return what the server calls. Raises FunctionsFrameworkException when there is no such function."""
    framework = create_asgi_app(target, source)
    function = next(app_of(route.endpoint) for route in framework.routes if isinstance(route, Route))
    return cast(App, framework) if function is None else straight(function, framework)


_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"})
_PATH = re.compile(r"/(?!(?:robots\.txt|favicon\.ico)\Z).*")
"""What the framework hands to a function."""


def straight(function: App, framework: App) -> App:
    """Return an app that hands to a function of ours what the framework would hand to it, and the rest to that."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] == "http" and scope["method"] in _METHODS and _PATH.fullmatch(scope["path"])
        await (function if is_ours else framework)(scope, receive, send)

    return served


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
        served = app(target, environment.get("FUNCTION_SOURCE", f"functions/{target}/main.py"))
    except FunctionsFrameworkException as error:
        sys.exit(f"{error}; run it where functions/ is, or set FUNCTION_SOURCE")
    config = uvicorn.Config(
        served,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        proxy_headers=False,  # nothing of ours asks who called
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    tracer = process.current().tracer
    if tracer is not None:
        # uvicorn ends by the signal that ended it, as if nobody had handled it: then nothing would be sent any more.
        signal.signal(signal.SIGTERM, _end)
    try:
        with suppress(KeyboardInterrupt):
            _Server(config).run()
    finally:
        if tracer is not None:
            tracer.flush()


def _end(_: int, __: object) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()

"""The least that the framework serves: what a cold start costs before anything is written."""

import os

import functions_framework.aio
import uvicorn
from functions_framework.aio import create_asgi_app
from starlette.requests import Request


@functions_framework.aio.http
async def hello(_: Request) -> str:
    return "hello"


if __name__ == "__main__":
    uvicorn.run(
        create_asgi_app("hello", __file__),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
    )

"""Run `orders`."""

import typer

app = typer.Typer(no_args_is_help=True, help="Replay, redrive and verify: what happened to every order, and proof of it.")


@app.callback()
def orders() -> None:
    """Replay, redrive and verify: what happened to every order, and proof of it."""


if __name__ == "__main__":
    app()

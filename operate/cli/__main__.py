"""Run `orders`."""

from pathlib import Path
from typing import Annotated

import typer

from operate import places
from operate.cli import dead_letters, event, replay, verify
from operate.cli.output import Verbs

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help as plain text, the same on every terminal and in docs/cli.md
    context_settings={"max_content_width": 120},
    add_completion=False,
)


@app.callback()
def orders(
    ctx: typer.Context,
    mongodb_uri: Annotated[
        str | None,
        typer.Option(
            envvar="MONGODB_URI",
            show_envvar=True,
            help="The MongoDB of all three databases. ORDERS_MONGODB_URI, BILLING_MONGODB_URI and NOTIFY_MONGODB_URI "
            "name one each.",
        ),
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(envvar="KAFKA_BOOTSTRAP_SERVERS", help="Kafka's bootstrap servers.")
    ] = None,
    kafka_config: Annotated[
        Path | None,
        typer.Option(
            envvar="KAFKA_CONFIG",
            exists=True,
            dir_okay=False,
            help="A file of name=value lines for librdkafka: security.protocol, sasl.username and the like.",
        ),
    ] = None,
    sink_url: Annotated[
        str | None,
        typer.Option(envvar="SINK_URL", help="Where KafkaSinks are, with {name} in it."),
    ] = None,
    function_url: Annotated[
        str | None,
        typer.Option(envvar="FUNCTION_URL", help="Where functions are, with {name} in it."),
    ] = None,
) -> None:
    """Replay, redrive and verify: what happened to every order, and proof of it.

    With a stack running on this machine (make run) no option is needed. Each verb says on standard error what it looks
    at, and refuses when nothing says what. The options below are taken before and after the verb.

    Exit codes: 0 fine, 1 the check failed, 2 wrong use, or something cannot be reached, 130 interrupted.
    """
    by_environment = {name for name in ctx.params if _from_environment(ctx, name)}
    ctx.obj = places.find(mongodb_uri, kafka, kafka_config, sink_url, function_url, by_environment=by_environment)


def _from_environment(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "ENVIRONMENT"


app.add_typer(event.app, name="event")
app.command()(replay.replay)
app.command()(verify.verify)
app.add_typer(dead_letters.app, name="dlq")


if __name__ == "__main__":
    app()

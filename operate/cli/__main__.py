"""Run `orders`."""

from typing import Annotated

import typer

from operate.cli.output import note
from operate.cli.verbs import Verbs

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
            help="The MongoDB of all three databases. ORDERS_MONGODB_URI, BILLING_MONGODB_URI and NOTIFY_MONGODB_URI "
            "name one each.  [env var: MONGODB_URI]",
        ),
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(help="Kafka's bootstrap servers.  [env var: KAFKA_BOOTSTRAP_SERVERS]")
    ] = None,
    kafka_config: Annotated[
        str | None,
        typer.Option(
            metavar="<file>",
            help="A file of name=value lines for librdkafka: security.protocol, sasl.username and the like.  "
            "[env var: KAFKA_CONFIG]",
        ),
    ] = None,
    sink_url: Annotated[
        str | None, typer.Option(help="Where the KafkaSinks are, with {name} in it.  [env var: SINK_URL]")
    ] = None,
    function_url: Annotated[
        str | None, typer.Option(help="Where the functions are, with {name} in it.  [env var: FUNCTION_URL]")
    ] = None,
) -> None:
    """Replay, redrive and verify: what happened to every order, and proof of it.

    If a stack runs on this machine (make run), no option is needed. Each verb prints on standard error what it looks
    at, and fails if it cannot know. The options below can be given before or after the verb.

    Exit codes: 0 fine, 1 the check failed, 2 wrong use, or something cannot be reached, 130 interrupted.
    """
    from operate.cli.options import Surroundings  # here, so that the help waits for none of it
    from operate.places import find

    surroundings: Surroundings = ctx.obj or Surroundings()
    ctx.obj = surroundings.open(
        find(
            surroundings.environment,
            mongodb_uri=mongodb_uri,
            kafka=kafka,
            kafka_config=kafka_config,
            sink_url=sink_url,
            function_url=function_url,
        ),
        note,
    )


if __name__ == "__main__":
    app()

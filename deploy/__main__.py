"""The verbs of make that need an image or a cluster: `python -m deploy image --image shop:0.1.0`.

What they are told, they are told by words of the command line; a token alone comes from the environment, which no other
user of the machine can read.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from deploy import cluster, image, sbom, smoke, status
from deploy.commands import Commands, Failed
from shop.process.version import VERSION


def _image(commands: Commands, told: argparse.Namespace) -> None:
    image.build(commands, told.image, told.base, told.lock)


def _sbom(commands: Commands, told: argparse.Namespace) -> None:
    count = sbom.write(Path(told.output), VERSION)
    commands.say(f"Wrote {told.output}: {count} packages, from requirements/functions.txt")


def _deploy(commands: Commands, told: argparse.Namespace) -> None:
    does = cluster.deploy_with_kn if told.kn else cluster.deploy
    does(commands, told.overlay, told.image, told.timeout)


def _undeploy(commands: Commands, told: argparse.Namespace) -> None:
    cluster.undeploy(commands, told.overlay)


def _status(commands: Commands, told: argparse.Namespace) -> None:
    status.show(commands, told.namespace)


def _smoke(commands: Commands, told: argparse.Namespace) -> None:
    targets = smoke.targets(told.url, lambda: status.urls(commands, told.namespace), commands.say)
    smoke.Smoke(targets, commands.say, token=os.environ.get("TOKEN", "")).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, does: Callable[[Commands, argparse.Namespace], None], what: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=what, description=what, allow_abbrev=False)
        added.set_defaults(does=does)
        return added

    building = verb("image", _image, "build the image of all functions")
    building.add_argument("--image", required=True, help="what to call it: name:tag")
    building.add_argument("--base", default="", help="the image to build on, instead of the Containerfile's own")
    building.add_argument(
        "--for",
        dest="lock",
        choices=("functions", "orders"),
        default="functions",
        help="for the functions; or for the `orders` command and the console",
    )
    billing = verb("sbom", _sbom, "write the bill of materials of the image, as CycloneDX JSON")
    billing.add_argument("--output", default="sbom.cdx.json", help="the file to write")
    deploying = verb("deploy", _deploy, "apply an overlay, wait, and say what is not ready and why")
    deploying.add_argument("--image", default="", help="the image of the functions, instead of the overlay's")
    deploying.add_argument("--kn", action="store_true", help="use kn for what it can make")
    deploying.add_argument("--timeout", type=float, default=600, help="how long to wait, in seconds")
    undeploying = verb("undeploy", _undeploy, "remove the functions and what calls them, never the data")
    for each in (deploying, undeploying):
        each.add_argument("--overlay", required=True, help="a folder of knative/overlays, or one elsewhere")
    asking = verb("status", _status, "show where the functions are, whether they are ready, and the consumers' lag")
    smoking = verb("smoke", _smoke, "order something of a shop that runs, and check the money")
    smoking.add_argument("--url", default="", help="where it is, or where the ingress is; {name} stands for a function")
    for each in (asking, smoking):
        each.add_argument("--namespace", default="shop", help="where the functions are")
    return parser


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """Return what the words say; exit 2, and say what is wrong, when they say nothing."""
    return _parser().parse_args(words)


def main(words: list[str] | None = None, commands: Commands | None = None) -> None:
    """Do what the words say; exit 1, and say what to do, when it cannot be done."""
    told = parsed(words)
    # A line is there before what the command that it announces prints.
    commands = commands or Commands(say=lambda line: print(line, flush=True))
    try:
        told.does(commands, told)
    except Failed as failure:
        sys.exit(f"{failure}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

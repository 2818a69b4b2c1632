"""The command `python -m shop.doctor`."""

import argparse
import sys
from pathlib import Path

from shop.doctor.reading import Document, Unreadable, build, parse
from shop.doctor.rules import examine

_HELP = """\
Look for what a cluster accepts without a word and nobody wants: events that are dropped, a consumer that customers
reach, time-outs that contradict one another. Nothing is applied, and no cluster is asked.

DIR is a folder with a kustomization.yaml; `-` reads manifests from the standard input:

    kubectl kustomize knative/overlays/production | python -m shop.doctor -

Exit 0: nothing found; 1: something was; 2: there was nothing to look at.
"""


def main() -> None:
    """Examine what the arguments name, and print each finding."""
    parser = argparse.ArgumentParser(
        prog="python -m shop.doctor",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("places", nargs="+", metavar="DIR", help="a folder to build, or - for the standard input")
    found = 0
    for place in parser.parse_args().places:
        try:
            documents = _documents(place)
        except (Unreadable, OSError) as error:
            print(error, file=sys.stderr)  # noqa: T201 - a command
            sys.exit(2)
        findings = examine(documents)
        found += len(findings)
        for finding in findings:
            print(f"{finding}\n")  # noqa: T201
        what = f"{len(findings)} to mend" if findings else "nothing to mend"
        print(f"{place}: {len(documents)} objects, {what}")  # noqa: T201
    sys.exit(1 if found else 0)


def _documents(place: str) -> list[Document]:
    return parse(sys.stdin.read(), "-") if place == "-" else build(Path(place))


if __name__ == "__main__":
    main()

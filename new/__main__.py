"""Make a function that runs, deployed and tested, and does nothing yet: `make new NAME=refund_order`.

What no list can read off is written here: a label, a message, a manifest, a public path, a row of the README, a test.
Whoever lists functions finds it there. A manifest is a copy of a sister's, so what holds for one holds for all.

    make new NAME=refund_order                  answers POST /RefundOrder, of the service `orders`
    make new NAME=close_account SERVICE=billing
    make new NAME=count_sales TOPIC=results     takes each PaymentDecided
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template

from tests.support.options import Parser

ROOT = Path(__file__).parents[1]
TEMPLATES = Path(__file__).parent / "templates"

SERVICES = {"orders": "orders", "billing": "billing", "notify": "notifications"}
"""The services, and the module of shop/ that decides for each."""

ANSWERS, TAKES = "get-order", "order-handler"
"""The sisters whose manifests are copied: each neither emits nor archives."""

_SCALE = "knative/overlays/production/scale.yaml"
_TABLE = r"(^\| \[\w+\]\(functions/.*\n)+"


class Refused(Exception):
    """Say why nothing was made."""


class Checkout:
    """Files of the project as they will be; nothing is written before all of them are known."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.texts: dict[str, str] = {}

    def read(self, file: str) -> str:
        """Return what a file will say."""
        return self.texts.get(file) or (self.root / file).read_text(encoding="utf-8")

    def insert(self, file: str, after: str, text: str) -> None:
        """Put a text into a file, behind the first place that the pattern finds."""
        said = self.read(file)
        found = re.search(after, said, re.MULTILINE)
        if found is None:
            raise Refused(f"{file} has no place for it any more: nothing there is like {after}")
        self.texts[file] = said[: found.end()] + text + said[found.end() :]

    def make(self, file: str, template: str, words: Mapping[str, str]) -> None:
        """Fill in a template, and make it a file."""
        self.texts[file] = filled(template, words)

    def save(self) -> None:
        """Write them all."""
        for file, text in self.texts.items():
            (self.root / file).parent.mkdir(exist_ok=True)
            (self.root / file).write_text(text, encoding="utf-8")


def filled(template: str, words: Mapping[str, str]) -> str:
    """Return a template with its words filled in."""
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)


def new(root: Path, name: str, service: str = "orders", topic: str | None = None) -> list[str]:
    """Make a function in a checkout, and return the files that were made or changed.

    Raises Refused: then nothing was written.
    """
    if not re.fullmatch(r"[a-z]{2,20}(_[a-z]{2,20}){1,3}", name):
        raise Refused(f"a function is named by a verb and a noun, such as refund_order; {name} is not")
    if (root / "functions" / name).exists():
        raise Refused(f"functions/{name} is there already")
    checkout = Checkout(root)
    words = {
        "name": name,
        "deployed": name.replace("_", "-"),
        "message": name.title().replace("_", ""),
        "says": name.replace("_", " ").capitalize(),
        "service": service,
        "decisions": SERVICES[service],
    }
    if topic:
        _takes(checkout, {**words, "topic": topic, "event": _event(checkout, topic)})
    else:
        _answers(checkout, words)
    checkout.insert("shop/setup/restoring.py", r"^FUNCTIONS = \(\n(    .*\n)+", f'    "{name}",\n')
    checkout.save()
    return sorted(checkout.texts)


def _answers(checkout: Checkout, words: Mapping[str, str]) -> None:
    """Make a function that answers POST."""
    path = f"/{words['message']}"
    checkout.make(f"functions/{words['name']}/main.py", "answers/main.py.txt", words)
    checkout.make(f"tests/functions/test_{words['name']}.py", "answers/test.py.txt", words)
    checkout.insert(f"schema/{words['service']}.proto", r"(?s:.*)", filled("answers/messages.proto.txt", words))
    checkout.insert("docs/openapi.yaml", r"(?s:.*?)(?=^webhooks:)", filled("answers/path.yaml.txt", words))
    _deploy(checkout, words, ANSWERS, f"# POST {path}: what it is for.\n")
    route = "knative/components/gateway/http-route.yaml"
    _, first, *_ = re.split("^(?=    - matches:)", checkout.read(route), flags=re.MULTILINE)
    rule = re.sub(r"value: /\w+", f"value: {path}", first)
    rule = re.sub(r"hostname: [\w-]+", f"hostname: {words['deployed']}", rule)
    checkout.insert(route, r"(?s:.*?)(?=^---)", rule)
    checkout.insert(_SCALE, r"(?s:.*)", filled("answers/scale.yaml.txt", words))
    checkout.insert("README.md", _TABLE, _row(words, f"POST {path}"))


def _takes(checkout: Checkout, words: Mapping[str, str]) -> None:
    """Make a function that takes the events of a topic."""
    checkout.make(f"functions/{words['name']}/main.py", "takes/main.py.txt", words)
    checkout.make(f"tests/functions/test_{words['name']}.py", "takes/test.py.txt", words)
    _deploy(checkout, words, TAKES, f"# {words['event']} on `{words['topic']}`: what it is for.\n")
    checkout.insert(_SCALE, r"(?s:.*)", filled("takes/scale.yaml.txt", words))
    # Who may write dead letters comes last in this file.
    checkout.insert("knative/components/oidc/event-policies.yaml", r"(?s:.*)", filled("takes/policy.yaml.txt", words))
    told = f'    "{words["deployed"]}": Consumer("{words["topic"]}", "{words["service"]}"),\n'
    checkout.insert("operate/places.py", r"^CONSUMERS: .*\n(    .*\n)+", told)
    checkout.insert("README.md", _TABLE, _row(words, f"KafkaSource `{words['topic']}`"))


def _deploy(checkout: Checkout, words: Mapping[str, str], sister: str, says: str) -> None:
    """Copy a sister's manifest, and list it."""
    manifest = checkout.read(f"knative/base/{sister}.yaml").partition("\n")[2]
    manifest = manifest.replace(sister, words["deployed"]).replace(sister.replace("-", "_"), words["name"])
    manifest = re.sub(r"name: \w+-mongodb", f"name: {words['service']}-mongodb", manifest)
    if "topic" in words:
        manifest = re.sub(r"topics: \[.*\]", f"topics: [{words['topic']}]", manifest)
    checkout.texts[f"knative/base/{words['deployed']}.yaml"] = says + manifest
    checkout.insert(
        "knative/base/kustomization.yaml", r"(?s:.*?)(?=^configurations:)", f"  - {words['deployed']}.yaml\n"
    )


def _event(checkout: Checkout, topic: str) -> str:
    """Return the event of a topic, which schema/events.proto says."""
    said = re.findall(r'message (\w+) \{\n  option \(\S+topic\) = "([\w-]+)"', checkout.read("schema/events.proto"))
    of_topic = {topic: event for event, topic in said}
    if topic not in of_topic:
        raise Refused(f"{topic} is no topic of events; there are {', '.join(of_topic)}")
    return of_topic[topic]


def _row(words: Mapping[str, str], trigger: str) -> str:
    return f"| [{words['name']}](functions/{words['name']}/main.py) | {trigger} | nothing yet | |\n"


def main() -> None:
    """Read the command line, make the function, and say what comes next."""
    parser = Parser(prog="make new", description="Make a function that does nothing yet.")
    parser.add_argument("--name", required=True, help="what it does, a verb and a noun: refund_order")
    parser.add_argument("--service", choices=SERVICES, default="orders", help="whose database it works on")
    parser.add_argument("--topic", help="take the events of this topic, in place of answering POST")
    asked = parser.parse_args()
    try:
        made = new(ROOT, asked.name, asked.service, asked.topic)
    except Refused as reason:
        sys.exit(str(reason))
    print(*made, sep="\n")
    messages = "" if asked.topic else f"the messages in schema/{asked.service}.proto, "
    print(
        f"\nNext, write {messages}the decision in shop/{SERVICES[asked.service]}.py, and the function in "
        f"functions/{asked.name}/main.py. After a change of schema/: make schema"
    )


if __name__ == "__main__":
    main()

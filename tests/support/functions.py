"""The list of functions: what their labels and their manifests say, for every test and proof that goes through them.

Nobody writes them down a second time. Apart on purpose: the model of proof/model, which is of the protocol and not of
this code, and what the tests of a single function expect of it.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from google.protobuf.message import Message

from shop.edge.handling import Label, label_of
from shop.messages import TOPICS
from tests.support.manifests import ROOT, documents, resources

TOOLS = frozenset({"console"})
"""What is in functions/ for operators, not for customers: a component, of no service, in another image."""


OPTIONAL = frozenset({"webhook_handler"})
"""Functions of the shop that a component adds: neither the base nor one machine has them."""


def folders() -> list[str]:
    """Return the folders of the shop's functions."""
    return sorted(main.parent.name for main in ROOT.glob("functions/*/main.py") if main.parent.name not in TOOLS)


@dataclass(frozen=True)
class Function:
    """One function: by its label, and by what its manifests add."""

    name: str
    """As its folder, its module's function and FUNCTION_TARGET have it: create_order."""

    label: Label

    @property
    def deployed(self) -> str:
        """Return the name of its Service, and so of its image, process and consumer group: create-order."""
        return self.name.replace("_", "-")

    @property
    def emits(self) -> bool:
        """Tell whether it needs a sink."""
        return self.label.emits is not None

    @property
    def topic(self) -> str:
        """Return the topic of the event that it takes."""
        return TOPICS[self.label.takes] if self.label.trigger == "event" and self.label.takes else ""

    @property
    def environment(self) -> Mapping[str, str | None]:
        """Return the variables of its container; None for those that come from a Secret."""
        (service,) = (service for service in documents("Service") if service.name == self.deployed)
        return {variable["name"]: variable.get("value") for variable in service.container["env"]}


def _read(name: str) -> Function:
    return Function(name, label_of(getattr(importlib.import_module(f"functions.{name}.main"), name)))


FUNCTIONS: Mapping[str, Function] = {
    name: _read(name)
    for name in (file.removesuffix(".yaml").replace("-", "_") for file in resources())
    if (ROOT / "functions" / name).exists()
}
"""In the order of the kustomization, which is README's: tests hold that it has all of them."""


def triggered(*triggers: Literal["GET", "POST", "event", "tick"]) -> dict[str, Function]:
    """Return the functions with one of these triggers."""
    return {name: function for name, function in FUNCTIONS.items() if function.label.trigger in triggers}


def consumers(kind: type[Message] | str) -> tuple[str, ...]:
    """Return the functions that take an event, which may be named by its CloudEvent's type."""
    full_name = kind if isinstance(kind, str) else kind.DESCRIPTOR.full_name
    return tuple(
        name
        for name, function in triggered("event").items()
        if function.label.takes is not None and function.label.takes.DESCRIPTOR.full_name == full_name
    )


PATHS: Mapping[str, str] = {
    rule["filters"][0]["urlRewrite"]["hostname"].partition(".")[0].replace("-", "_"): match["path"]["value"]
    for route in documents("HTTPRoute")
    for rule in route.spec["rules"]
    for match in rule["matches"]
}
"""The public path of each function that customers call."""

"""What is on the cluster: where the functions are, whether they are ready, and how far behind their consumers."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from deploy.commands import WHICH_CLUSTER, Commands, Failed, Missing
from shop.doctor.reading import listed, mapping

_SERVICES: Final = "services.serving.knative.dev"
_SOURCES: Final = "kafkasources.sources.knative.dev"
_GROUPS: Final = "/opt/kafka/bin/kafka-consumer-groups.sh"
"""Where Kafka's own images and Strimzi's have it."""


def show(commands: Commands, namespace: str) -> None:
    """Print a line for each function, and one for each consumer. Raises Failed when nothing answers, or is there."""
    services = _items(commands, _SERVICES, namespace)
    if not services:
        raise Failed(
            f"namespace {namespace} has no function: make deploy OVERLAY=quickstart IMAGE=..., or say NAMESPACE="
        )
    rows = [("function", "ready", "revision", "URL")]
    for service in services:
        status = mapping(service.get("status"))
        revision = status.get("latestReadyRevisionName") or "none"
        if revision != (created := status.get("latestCreatedRevisionName") or revision):
            revision += f" ({created} is not ready)"
        rows.append((_name(service), _ready(service), revision, status.get("url") or "none"))
    _say_table(commands, rows)
    sources = _items(commands, _SOURCES, namespace)
    behind = _lags(commands, sources)
    rows = [("consumer", "ready", "topic", "behind by")]
    for source in sources:
        spec = mapping(source.get("spec"))
        group = str(spec.get("consumerGroup"))
        rows.append((group, _ready(source), ", ".join(listed(spec.get("topics"))), behind.get(group, "not known")))
    commands.say("")
    _say_table(commands, rows)


def urls(commands: Commands, namespace: str) -> dict[str, str]:
    """Return the URL of each function, by name, as the cluster says it."""
    services = _items(commands, _SERVICES, namespace)
    found = {_name(service): mapping(service.get("status")).get("url") for service in services}
    return {name: url for name, url in found.items() if url}


def _items(commands: Commands, kind: str, namespace: str) -> list[dict[str, Any]]:
    try:
        told = json.loads(commands.read("kubectl", "get", kind, "-n", namespace, "-o", "json"))
    except Missing:
        raise
    except Failed as failure:
        raise Failed(f"{failure}\nNo cluster with Knative answers. {WHICH_CLUSTER}") from failure
    return listed(told.get("items"))


def _name(found: Mapping[str, Any]) -> str:
    return str(mapping(found.get("metadata")).get("name"))


def _ready(found: Mapping[str, Any]) -> str:
    conditions = [mapping(each) for each in listed(mapping(found.get("status")).get("conditions"))]
    ready = next((each for each in conditions if each.get("type") == "Ready"), {})
    return "yes" if ready.get("status") == "True" else f"no: {ready.get('reason') or 'nothing said yet'}"


def _say_table(commands: Commands, rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        commands.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _lags(commands: Commands, sources: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Ask each Kafka, in its own pod, how many events its groups have yet to take."""
    found: dict[str, str] = {}
    for servers in dict.fromkeys(
        ",".join(listed(mapping(each.get("spec")).get("bootstrapServers"))) for each in sources
    ):
        host, _, _ = servers.partition(",")[0].partition(":")
        service, namespace, *rest = [*host.split("."), ""]
        ask = [_GROUPS, "--bootstrap-server", servers, "--describe", "--all-groups"]
        small = ["env", "KAFKA_HEAP_OPTS=-Xmx128m"]  # beside a broker that has most of the pod's memory
        if rest[:1] != ["svc"]:
            commands.say(f"Kafka at {servers} is not in this cluster; where it can be reached: {shlex.join(ask)}")
            continue
        try:
            told = commands.read("kubectl", "exec", "-n", namespace, f"service/{service}", "--", *small, *ask)
        except Failed as failure:
            commands.say(f"How far behind the consumers are is not known: {str(failure).splitlines()[-1]}")
            continue
        for group, lag in read_lags(told):
            before = int(found.get(group, "0"))
            found[group] = str(before + lag)
    return found


def read_lags(table: str) -> Iterator[tuple[str, int]]:
    """Yield a group and its lag for each partition of the table that Kafka's own tool prints.

    A partition without an offset is one that the group has taken nothing from: all that is in it is to come.
    """
    columns: list[str] = []
    for line in table.splitlines():
        cells = line.split()
        if "LAG" in cells:
            columns = cells
        elif columns and len(cells) >= len(columns):
            row = dict(zip(columns, cells, strict=False))
            lag = row["LAG"] if row["LAG"].isdigit() else row.get("LOG-END-OFFSET", "")
            if lag.isdigit():
                yield row["GROUP"], int(lag)

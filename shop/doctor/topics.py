"""Rules for KafkaSinks, SinkBindings and topics: where events go, and how long they are kept."""

from collections.abc import Iterator, Mapping
from typing import Any

from shop.doctor.assumed import DAY_MS, EVENTS_KEPT_MS, LETTERS_KEPT_MS
from shop.doctor.finding import Finding
from shop.doctor.reading import Document, mapping
from shop.doctor.shop import (
    Shop,
    names,
    whole,
)


def sinks_that_own_their_topic(shop: Shop) -> Iterator[Finding]:
    """Find KafkaSinks that would take their topic with them."""
    for sink in shop.sinks:
        for field in ("numPartitions", "replicationFactor"):
            if field in sink.spec:
                yield Finding(
                    sink,
                    f"spec.{field}",
                    "a KafkaSink that says the size of its topic deletes the topic when it is deleted, events and all",
                    "remove it; topics are made apart, by the component strimzi or topics-job",
                )
        if sink.spec.get("contentMode") not in {"binary", None}:
            yield Finding(
                sink,
                "spec.contentMode",
                "data of a structured event is written anew on its way, so its bytes are not those that were sent",
                "binary",
            )


def bindings(shop: Shop) -> Iterator[Finding]:
    """Find SinkBindings that bind nothing, to nothing, or twice."""
    bound: dict[str, Document] = {}
    for binding in shop.bindings:
        subject = mapping(binding.spec.get("subject"))
        service = shop.named(shop.services, subject, binding.namespace)
        if "selector" not in subject and service is None:
            yield Finding(
                binding,
                "spec.subject.name",
                f"there is no Service {subject.get('name')} in {subject.get('namespace') or binding.namespace}: no "
                "function gets K_SINK, and every order stays `ordered`",
                f"one of: {names(shop.services)}",
            )
        elif service is not None and bound.setdefault(service.name, binding) is not binding:
            yield Finding(
                binding,
                "spec.subject.name",
                f"{bound[service.name]} binds {service} too, and there is one K_SINK",
                "one SinkBinding for each Service",
            )
        ref = mapping(mapping(binding.spec.get("sink")).get("ref"))
        yield from _no_sink(shop, binding, "spec.sink.ref.name", ref)
    for source in shop.sources:
        letters = mapping(mapping(mapping(source.spec.get("delivery")).get("deadLetterSink")).get("ref"))
        if letters:
            yield from _no_sink(shop, source, "spec.delivery.deadLetterSink.ref.name", letters)


def _no_sink(shop: Shop, owner: Document, field: str, ref: Mapping[str, Any]) -> Iterator[Finding]:
    """Find references to a KafkaSink that is not there."""
    if ref.get("kind") == "KafkaSink" and shop.named(shop.sinks, ref, owner.namespace) is None:
        yield Finding(
            owner,
            field,
            f"there is no KafkaSink {ref.get('name')} in {ref.get('namespace') or owner.namespace}: what is sent there "
            "is lost, or never sent",
            f"one of: {names(shop.sinks)}",
        )


def topics(shop: Shop) -> Iterator[Finding]:
    """Find topics that lose what was acknowledged, take no more events, or forget too early."""
    for topic in shop.topics:
        least = whole(topic.config.get("min.insync.replicas"))
        if topic.replicas is not None and least is not None and topic.replicas < least:
            yield Finding(
                topic.document,
                f"{topic.field} replicas",
                f"{topic.replicas} replicas can never be {least} in sync: no event is taken, and every order stays "
                "`ordered`",
                f"at least {least + 1}: then a broker may be away",
            )
        if topic.replicas is not None and topic.replicas > 1 and (least is None or least < 2):
            yield Finding(
                topic.document,
                f"{topic.field} min.insync.replicas",
                "an event may be acknowledged by one broker alone, and is lost with it",
                "2",
            )
        yield from _kept(shop, topic.document, topic.field, topic.name, topic.config)


def _kept(shop: Shop, document: Document, field: str, name: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Find a retention that is too short."""
    letters = {sink.spec.get("topic") for sink in shop.sinks if sink.name.endswith("dead-letters")} | {"dead-letters"}
    wanted = LETTERS_KEPT_MS if name in letters else EVENTS_KEPT_MS
    kept = whole(config.get("retention.ms"))
    days = wanted // DAY_MS
    if (kept is None and wanted > EVENTS_KEPT_MS) or (kept is not None and 0 <= kept < wanted):
        yield Finding(
            document,
            f"{field} retention.ms",
            f"{name} is kept for {_days(kept)}; "
            + (
                "a dead letter may be gone before somebody redrives it"
                if name in letters
                else "an event may be gone before its consumer is back"
            ),
            f"{wanted} ({days} days) or more",
        )
    size = whole(config.get("retention.bytes"))
    if size is not None and size >= 0:
        yield Finding(document, f"{field} retention.bytes", "events are dropped by size, however young", "remove it")
    if "compact" in str(config.get("cleanup.policy", "")):
        yield Finding(
            document,
            f"{field} cleanup.policy",
            "of the events of one user, only the newest is kept",
            "delete",
        )


def _days(kept: int | None) -> str:
    return "as long as the broker likes" if kept is None else f"{kept / DAY_MS:.3g} days"

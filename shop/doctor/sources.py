"""Rules for KafkaSources: what brings each event to its function, and how long it tries."""

from collections.abc import Iterator
from typing import Final

from shop.doctor.finding import Finding
from shop.doctor.reading import Document, listed, mapping
from shop.doctor.shop import Shop, containers, environment, names, revision, seconds, whole
from wire.delivery import DeliverySpec
from wire.login import PROTOCOL as _PROTOCOL

_SERVERS: Final = "KAFKA_BOOTSTRAP_SERVERS"


def deliveries(shop: Shop) -> Iterator[Finding]:
    """Find sources that drop what they cannot deliver, or hardly try."""
    for source in shop.sources:
        delivery = mapping(source.spec.get("delivery"))
        sink = mapping(delivery.get("deadLetterSink"))
        if not mapping(sink.get("ref")).get("name") and not sink.get("uri"):
            yield Finding(
                source,
                "spec.delivery.deadLetterSink",
                "an event that is given up is dropped, and its offset committed: nobody hears of it",
                "the KafkaSink dead-letters",
            )
        retry = whole(delivery.get("retry"))
        if retry is None or retry < 1:
            yield Finding(
                source,
                "spec.delivery.retry",
                "with a `delivery` and no `retry` nothing is retried: a restart of MongoDB sends everything to the "
                "dead letters",
                "5 for what resend repairs, 40 for notifications",
            )
        policy = delivery.get("backoffPolicy")
        if policy not in {"exponential", "linear"}:
            yield Finding(
                source,
                "spec.delivery.backoffPolicy",
                "exponential by default, which is long with many retries",
                "exponential or linear",
            )
        delay = seconds(delivery.get("backoffDelay"))
        if delay is None or delay < 0.1:
            yield Finding(
                source,
                "spec.delivery.backoffDelay",
                f"{delivery.get('backoffDelay')} is not what the dispatcher reads: below a tenth of a second it does "
                "not retry at all, and what is no ISO 8601 duration fails when it is too late",
                "PT0.5S",
            )
        elif retry is not None and retry > 0:
            few = min(retry, 40)  # more of them pass any election, and the largest float in the end
            yield from _waits(source, DeliverySpec(few, linear=policy == "linear", backoff_delay_s=delay))


def _waits(source: Document, delivery: DeliverySpec) -> Iterator[Finding]:
    """Find waits that end before an election does."""
    total = sum(map(delivery.wait_s, range(1, delivery.retry + 1)))
    election = 12
    if total <= election:
        yield Finding(
            source,
            "spec.delivery.retry",
            f"all retries are over after {total:.1f} s, before MongoDB has elected another primary ({election} s)",
            "5 with an exponential backoffDelay of PT0.5S: 31 s",
        )


def delivery_time_outs(shop: Shop) -> Iterator[Finding]:
    """Find sources that send an event again while it is being handled, or wait for a dead connection."""
    for source in shop.sources:
        field = "spec.delivery.timeout"
        given = seconds(mapping(source.spec.get("delivery")).get("timeout"))
        service = shop.called(source)
        serving = whole(revision(service).get("timeoutSeconds")) if service else None
        if given is None:
            yield Finding(source, field, "600 s by default: a dead connection holds a place for ten minutes", "PT60S")
        elif serving is not None and given <= serving:
            yield Finding(
                source,
                field,
                f"{given:.0f} s are not longer than Serving's {serving} s: an event is delivered again while it is "
                "being handled, just when things are slow",
                f"PT{2 * serving}S",
            )
        elif given > 300:
            yield Finding(source, field, f"a dead connection holds one of 50 places for {given:.0f} s", "PT60S")


def offsets_and_order(shop: Shop) -> Iterator[Finding]:
    """Find sources that skip what was there before them, or wait in line."""
    for source in shop.sources:
        if source.spec.get("initialOffset") != "earliest":
            yield Finding(
                source,
                "spec.initialOffset",
                "`latest`, also the default, skips every event from before the source was ready",
                "earliest",
            )
        if source.spec.get("ordering") != "unordered":
            yield Finding(
                source,
                "spec.ordering",
                "`ordered`, also the default, lets one event that is retried hold up its whole partition",
                "unordered: nothing here needs order",
            )


def groups(shop: Shop) -> Iterator[Finding]:
    """Find sources without a consumer group, or with that of another."""
    owners: dict[tuple[str, str], Document] = {}
    for source in shop.sources:
        group = source.spec.get("consumerGroup")
        if not group:
            yield Finding(
                source,
                "spec.consumerGroup",
                "a random group by default: a source that is made anew begins anew, and nobody finds its lag",
                f"{source.name}",
            )
            continue
        for topic in map(str, listed(source.spec.get("topics"))):
            other = owners.setdefault((str(group), topic), source)
            for one, another in ((source, other), (other, source)) if other is not source else ():
                yield Finding(
                    one,
                    "spec.consumerGroup",
                    f"{group} is that of {another} too: each of the two gets a part of the events of {topic}",
                    "a group of its own, named after its function",
                )


def sources_that_call_nobody(shop: Shop) -> Iterator[Finding]:
    """Find sources whose Service is not there."""
    for source in (*shop.sources, *shop.pings):
        ref = mapping(mapping(source.spec.get("sink")).get("ref"))
        if ref.get("kind") == "Service" and shop.called(source) is None:
            yield Finding(
                source,
                "spec.sink.ref.name",
                f"there is no Service {ref.get('name')} in {ref.get('namespace') or source.namespace}: the source "
                "never becomes ready, and no event is handled",
                f"one of: {names(shop.services)}",
            )
        elif not ref and not mapping(source.spec.get("sink")).get("uri"):
            yield Finding(source, "spec.sink", "the source calls nobody", "the Service of its function")


def topics_that_are_not_there(shop: Shop) -> Iterator[Finding]:
    """Find topics that are read and not written, or used and not made."""
    made = {topic.name for topic in shop.topics}
    written = {str(sink.spec.get("topic")) for sink in shop.sinks}
    for source in shop.sources:
        names = [str(topic) for topic in listed(source.spec.get("topics"))]
        if not names:
            yield Finding(source, "spec.topics", "the source reads nothing", f"one of: {', '.join(sorted(written))}")
        for name in names:
            if (made and name not in made) or (written and name not in written):
                yield Finding(
                    source,
                    "spec.topics",
                    f"nobody {'makes' if made and name not in made else 'writes to'} the topic {name}: the consumer "
                    "never hears of an event",
                    f"one of: {', '.join(sorted(made & written or made or written))}",
                )
    for sink in shop.sinks:
        if made and str(sink.spec.get("topic")) not in made:
            yield Finding(
                sink,
                "spec.topic",
                f"nobody makes the topic {sink.spec.get('topic')}: the sink never becomes ready",
                f"one of: {', '.join(sorted(made))}",
            )


def more_consumers_than_partitions(shop: Shop) -> Iterator[Finding]:
    """Find sources some of whose consumers would idle."""
    partitions = {topic.name: topic.partitions for topic in shop.topics}
    for source in shop.sources:
        consumers = whole(source.spec.get("consumers", 1)) or 0
        most = sum(partitions.get(str(topic)) or 0 for topic in listed(source.spec.get("topics")))
        if consumers < 1:
            yield Finding(source, "spec.consumers", "nobody reads the topic", "1")
        elif most and consumers > most:
            yield Finding(
                source,
                "spec.consumers",
                f"{consumers} consumers share {most} partitions: {consumers - most} of them have nothing to do",
                f"at most {most}, or more partitions",
            )


def one_kafka(shop: Shop) -> Iterator[Finding]:
    """Find sources, sinks, and what asks Kafka by itself, that talk to another Kafka than the rest."""
    said: dict[tuple[str, ...], list[tuple[Document, str]]] = {}
    for document in (*shop.sinks, *shop.sources):
        servers = tuple(sorted(map(str, listed(document.spec.get("bootstrapServers")))))
        said.setdefault(servers, []).append((document, "spec.bootstrapServers"))
    for document in shop.documents:
        for field, container in containers(document):
            if asked := environment(container).get(_SERVERS):
                servers = tuple(sorted(map(str.strip, str(asked).split(","))))
                said.setdefault(servers, []).append((document, f"{field}.env {_SERVERS}"))
    usual = max(said, key=lambda servers: len(said[servers]), default=())
    for servers, places in said.items():
        for document, field in places if servers != usual or not servers else ():
            yield Finding(
                document,
                field,
                f"{', '.join(servers) or 'nothing'} here, {', '.join(usual) or 'nothing'} elsewhere: what is emitted "
                "to one Kafka is waited for at another",
                f"[{', '.join(usual)}]" if field == "spec.bootstrapServers" else ",".join(usual),
            )


def one_login(shop: Shop) -> Iterator[Finding]:
    """Find sources, sinks and functions that say nothing of a login where others log in to Kafka."""
    said = [(sink, "spec.auth", bool(sink.spec.get("auth"))) for sink in shop.sinks]
    said += [(source, "spec.net", bool(source.spec.get("net"))) for source in shop.sources]
    for service in shop.services:
        for field, container in containers(service):
            if _SERVERS in environment(container):
                said.append((service, f"{field}.env {_PROTOCOL}", _PROTOCOL in environment(container)))
    for document, field, logs_in in said if any(logs_in for *_, logs_in in said) else ():
        if not logs_in:
            yield Finding(
                document,
                field,
                "nothing here, a login elsewhere: Kafka hangs up on it, for ever",
                "as the others have it: list what adds it before the component kafka-sasl-tls",
            )

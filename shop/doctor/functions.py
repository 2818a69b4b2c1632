"""Rules for Services: what runs a function, and who reaches it."""

from collections.abc import Iterator, Mapping
from typing import Final

from shop.doctor.assumed import ASSUMED
from shop.doctor.finding import Finding
from shop.doctor.reading import Document, mapping
from shop.doctor.shop import (
    FUNCTIONS,
    MIN_SCALE,
    VISIBILITY,
    Shop,
    annotations,
    containers,
    environment,
    quantity,
    revision,
    whole,
)

_SERVICE: Final = "spec.template.spec"
_CONTAINER: Final = "spec.template.spec.containers[0]"


def fixed_revision_names(shop: Shop) -> Iterator[Finding]:
    """Find Services that name their revision."""
    for service in shop.services:
        if "name" in mapping(mapping(service.spec.get("template")).get("metadata")):
            yield Finding(
                service,
                "spec.template.metadata.name",
                "the second apply is refused, and a SinkBinding cannot add K_SINK: nothing is emitted",
                "remove it; Knative names revisions",
            )


def functions_that_are_not_there(shop: Shop) -> Iterator[Finding]:
    """Find Services that run no function of this project."""
    known = {folder.name for folder in FUNCTIONS.iterdir() if (folder / "main.py").is_file()}
    for service in shop.services:
        for field, container in containers(service):
            target = environment(container).get("FUNCTION_TARGET")
            if target not in known:
                yield Finding(
                    service,
                    f"{field}.env FUNCTION_TARGET",
                    f"there is no function {target}: the container ends at its start",
                    f"name one of functions/: {', '.join(sorted(known))}",
                )


def consumers_that_customers_reach(shop: Shop) -> Iterator[Finding]:
    """Find Services that events or ticks reach, and everybody else too."""
    for service, source in shop.consumers():
        if mapping(service.metadata.get("labels")).get(VISIBILITY) != "cluster-local":
            yield Finding(
                service,
                f"metadata.labels {VISIBILITY}",
                f"anybody who reaches the ingress can send what {source} sends: a forged payment is charged",
                f"{VISIBILITY}: cluster-local (no other value hides it)",
            )


def handlers_that_scale_to_zero(shop: Shop) -> Iterator[Finding]:
    """Find consumers of a topic that may have no pod."""
    fed = {id(service): service for source in shop.sources if (service := shop.called(source))}
    for service in fed.values():
        least = whole(annotations(service).get(MIN_SCALE))
        if least is None or least < 1:
            yield Finding(
                service,
                f"spec.template.metadata.annotations {MIN_SCALE}",
                "an order under way waits for a cold start, and all events behind it",
                f'{MIN_SCALE}: "1" or more',
            )


def resources(shop: Shop) -> Iterator[Finding]:
    """Find containers without requests or a memory limit, or with a limit below its request."""
    for document in shop.documents:
        for field, container in containers(document):
            said = mapping(container.get("resources"))
            requests, limits = mapping(said.get("requests")), mapping(said.get("limits"))
            for name in ("cpu", "memory"):
                if name not in requests:
                    yield Finding(
                        document,
                        f"{field}.resources.requests.{name}",
                        "the scheduler puts any number of pods on one node, and evicts this one first",
                        f"say what it has when idle, for a function {'50m' if name == 'cpu' else '96Mi'}",
                    )
            if "memory" not in limits:
                yield Finding(
                    document,
                    f"{field}.resources.limits.memory",
                    "a leak takes the memory of the node, and others are killed for it",
                    "say a limit above any burst, for a function 256Mi",
                )
            for name in ("cpu", "memory"):
                low, high = quantity(requests.get(name)), quantity(limits.get(name))
                if low is not None and high is not None and high < low:
                    yield Finding(
                        document,
                        f"{field}.resources.limits.{name}",
                        f"{limits[name]} is below the request of {requests[name]}: the pod is refused",
                        f"a limit of at least {requests[name]}",
                    )


_RESTRICTED: Final[Mapping[str, object]] = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "capabilities.drop": ["ALL"],
    "seccompProfile.type": "RuntimeDefault",
}


def security_contexts(shop: Shop) -> Iterator[Finding]:
    """Find functions whose container may do more than it needs."""
    for service in shop.services:
        for field, container in containers(service):
            said = mapping(container.get("securityContext"))
            for path, wanted in _RESTRICTED.items():
                first, _, second = path.partition(".")
                value = mapping(said.get(first)).get(second) if second else said.get(first)
                if value != wanted:
                    yield Finding(
                        service,
                        f"{field}.securityContext.{path}",
                        "Pod Security's `restricted` refuses the pod; without it, whoever breaks in can do more",
                        f"{path}: {_shown(wanted)}",
                    )


def array_limits(shop: Shop) -> Iterator[Finding]:
    """Find bounds of arrays that the code does not take, or that two functions do not share."""
    low, high = ASSUMED.array_bounds
    said: dict[tuple[int, int], Document] = {}
    for service in shop.services:
        for field, container in containers(service):
            values = environment(container)
            if "ARRAY_LIMIT" not in values and "ARCHIVE_BATCH" not in values:
                continue
            numbers = []
            for name, default in zip(("ARRAY_LIMIT", "ARCHIVE_BATCH"), ASSUMED.array_limit, strict=True):
                number = whole(values.get(name, default))
                numbers.append(number or 0)
                if number is None or not low <= number <= high:
                    yield Finding(
                        service,
                        f"{field}.env {name}",
                        f"{values.get(name)} is refused at the start: the function never becomes ready",
                        f"a whole number from {low} to {high}, as text; {default} is the default",
                    )
            limit, batch = numbers
            if batch > limit:
                yield Finding(
                    service,
                    f"{field}.env ARCHIVE_BATCH",
                    f"{batch} is over ARRAY_LIMIT, {limit}: the function ends at its start",
                    "at most ARRAY_LIMIT; a half of it is usual",
                )
            said.setdefault((limit, batch), service)
    usual = ASSUMED.array_limit if ASSUMED.array_limit in said else next(iter(said), None)
    for (limit, batch), service in said.items():
        if usual and (limit, batch) != usual:
            yield Finding(
                service,
                f"{_CONTAINER}.env ARRAY_LIMIT, ARCHIVE_BATCH",
                f"{limit} and {batch} here, {usual[0]} and {usual[1]} in {said[usual].name}: one account grows by one "
                "rule and is archived by another",
                "the same two values in each function that has them",
            )


def serving_time_outs(shop: Shop) -> Iterator[Finding]:
    """Find Services that answer, or are killed, before their function has."""
    ticked = {service.name for ping in shop.pings if (service := shop.called(ping))}
    for service in shop.services:
        field = f"{_SERVICE}.timeoutSeconds"
        given = whole(revision(service).get("timeoutSeconds"))
        waits = any(environment(each).get("FUNCTION_TARGET") in ASSUMED.waiting for _, each in containers(service))
        least = max(
            *(ASSUMED.body_s + ASSUMED.function_s, ASSUMED.drain_s),
            *(ASSUMED.answered_s * waits, ASSUMED.tick_s * (service.name in ticked)),
        )
        if given is None:
            yield Finding(service, field, "Knative's default, 300 s, is longer than KafkaSource waits", "30")
        elif given <= least:
            yield Finding(
                service,
                field,
                f"{given} s end before the function does ({least:.0f} s with its body, its deadline, a wait and "
                "draining): a 504 says nothing of what was done, and what is in flight is killed",
                "30",
            )
        elif given > ASSUMED.keep_alive_s:
            yield Finding(
                service,
                field,
                f"{given} s are longer than an idle connection stays open ({ASSUMED.keep_alive_s:.0f} s)",
                "30",
            )
        if service.name in ticked and given is not None and given > ASSUMED.resend_after_s:
            yield Finding(service, field, f"ticks of {given} s overlap: one comes each minute", "30")


def probes(shop: Shop) -> Iterator[Finding]:
    """Find functions that count as ready when they are not."""
    for service in shop.services:
        for field, container in containers(service):
            probe = mapping(container.get("readinessProbe"))
            if mapping(probe.get("httpGet")).get("path") != "/healthz":
                yield Finding(
                    service,
                    f"{field}.readinessProbe.httpGet.path",
                    "a function without its MongoDB or its indexes counts as ready, and answers 503",
                    "/healthz",
                )
            elif (whole(probe.get("timeoutSeconds", 1)) or 0) <= ASSUMED.health_s:
                yield Finding(
                    service, f"{field}.readinessProbe.timeoutSeconds", "the probe ends before the check answers", "1"
                )


def concurrency(shop: Shop) -> Iterator[Finding]:
    """Find consumers that refuse events when the queue of their proxy is full."""
    in_flight = 50
    for service, _ in shop.consumers():
        limit = whole(revision(service).get("containerConcurrency", 0))
        if limit is not None and 0 < limit < in_flight // 10:
            yield Finding(
                service,
                f"{_SERVICE}.containerConcurrency",
                f"{limit} at once, and ten times as many in the queue, are fewer than the {in_flight} events that a "
                "source has in flight: the others are answered 503 and use up their retries",
                "0, no limit: events in flight share their round trips to MongoDB",
            )


def selectors(shop: Shop) -> Iterator[Finding]:
    """Find what kustomize's commonLabels leave in a Knative Service."""
    for service in shop.services:
        if "selector" in service.spec:
            yield Finding(
                service,
                "spec.selector",
                "kustomize took it for a Service of Kubernetes; Knative has no such field, and the apply is refused",
                "`labels` without `includeSelectors` in place of `commonLabels`",
            )


_AUTOSCALING: Final = {
    *("class", "metric", "target", "target-utilization-percentage", "min-scale", "max-scale", "initial-scale"),
    *("activation-scale", "window", "scale-down-delay", "scale-to-zero-pod-retention-period"),
    *("target-burst-capacity", "panic-window-percentage", "panic-threshold-percentage"),
}


def autoscaling(shop: Shop) -> Iterator[Finding]:
    """Find annotations of autoscaling that mean nothing to Knative."""
    prefix = "autoscaling.knative.dev/"
    for service in shop.services:
        for name, value in annotations(service).items():
            field = f"spec.template.metadata.annotations {name}"
            if name.startswith(prefix) and name.removeprefix(prefix) not in _AUTOSCALING:
                yield Finding(
                    service, field, "Knative does not know it, and says nothing", f"{prefix}min-scale or such"
                )
            elif name.startswith(prefix) and not isinstance(value, str):
                yield Finding(service, field, "a number that is not a text is refused", f'"{value}"')
        for name in mapping(service.metadata.get("annotations")):
            if name.startswith(prefix):
                yield Finding(
                    service, f"metadata.annotations {name}", "refused here", "put it under spec.template.metadata"
                )


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", "")

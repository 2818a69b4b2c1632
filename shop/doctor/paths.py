"""Rules for what calls functions beside Kafka: timers and public paths."""

from collections.abc import Iterator

from shop.doctor.finding import Finding
from shop.doctor.reading import listed, mapping
from shop.doctor.shop import (
    VISIBILITY,
    Shop,
    names,
)


def timers(shop: Shop) -> Iterator[Finding]:
    """Find a resend that ticks more rarely than each minute."""
    for ping in shop.pings:
        schedule = str(ping.spec.get("schedule", "")).split()
        each_minute = schedule in (["*"] * 5, ["*/1", "*", "*", "*", "*"])
        if not each_minute:
            yield Finding(
                ping,
                "spec.schedule",
                f"{ping.spec.get('schedule')!r} is not each minute: an order whose event was lost waits longer than "
                "clients are told",
                '"* * * * *"',
            )


def routes(shop: Shop) -> Iterator[Finding]:
    """Find paths that lead to no function, or past the ingress to a consumer."""
    for route in shop.routes:
        for number, rule in enumerate(map(mapping, listed(route.spec.get("rules")))):
            for each in map(mapping, listed(rule.get("filters"))):
                host = mapping(each.get("urlRewrite")).get("hostname")
                if host is None:
                    continue
                name, _, rest = str(host).partition(".")
                namespace = rest.partition(".")[0]
                field = f"spec.rules[{number}] hostname"
                service = shop.named(shop.services, {"name": name, "namespace": namespace}, "")
                if service is None:
                    yield Finding(
                        route,
                        field,
                        f"{host} is no Service of the shop: this path answers 404",
                        "list the component's `references` under `transformers`, or name one of: "
                        f"{names(shop.services)}",
                    )
                elif mapping(service.metadata.get("labels")).get(VISIBILITY) == "cluster-local":
                    yield Finding(route, field, f"{name} is for events alone: anybody could forge one", "remove it")

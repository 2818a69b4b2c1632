"""Rules for who is let in: tokens of customers."""

from collections.abc import Iterator
from typing import Final

from shop.doctor.assumed import ASSUMED
from shop.doctor.finding import Finding
from shop.doctor.reading import Document, mapping
from shop.doctor.shop import VISIBILITY, Shop, containers, environment

AUTH: Final = ("AUTH_JWKS_URL", "AUTH_ISSUER", "AUTH_AUDIENCE")


def tokens_half_demanded(shop: Shop) -> Iterator[Finding]:
    """Find functions that are told a part of what verifies tokens."""
    for service in shop.services:
        for field, container in containers(service):
            missing = [name for name in AUTH if not _is_set(container, name)]
            given = [name for name in (*AUTH, "AUTH_ROLES_CLAIM") if _is_set(container, name)]
            if given and missing:
                yield Finding(
                    service,
                    f"{field}.env {missing[0]}",
                    f"{', '.join(given)} without {', '.join(missing)}: the function ends at its start, for it would "
                    "let in everybody or nobody",
                    "all three of them, from one ConfigMap: components/auth",
                )


def what_anybody_may_do(shop: Shop) -> Iterator[Finding]:
    """Find functions that demand no token of customers, in a shop that is closed elsewhere or demands them elsewhere.

    A laptop and a first try demand none, and are closed nowhere.
    """
    public = [each for each in shop.services if mapping(each.metadata.get("labels")).get(VISIBILITY) != "cluster-local"]
    open_, others = [each for each in public if not _demands(each)], [each for each in public if _demands(each)]
    if not others and not _is_closed(shop):
        return
    for service in open_:
        target = next((environment(each).get("FUNCTION_TARGET") for _, each in containers(service)), None)
        done = ASSUMED.admins.get(str(target), "acts for any user")
        yield Finding(
            service,
            f"spec.template.spec.containers[0].env {AUTH[0]}",
            f"whoever reaches the ingress {done}: no token is demanded"
            + (f", although {others[0].name} demands one" if others else ", although Kafka or the pods are closed"),
            "components/auth",
        )


def _is_closed(shop: Shop) -> bool:
    """Tell whether somebody took care that strangers reach neither Kafka nor the pods."""
    return any(sink.spec.get("auth") for sink in shop.sinks) or any(
        document.kind == "EventPolicy"
        or (document.kind == "NetworkPolicy" and "Ingress" in document.spec.get("policyTypes", []))
        for document in shop.documents
    )


def _demands(service: Document) -> bool:
    return any(_is_set(container, AUTH[0]) for _, container in containers(service))


def _is_set(container: dict[str, object], name: str) -> bool:
    """Tell whether a container has a variable, plain or from elsewhere; an empty one counts as none."""
    return bool(environment(container).get(name, "") != "")

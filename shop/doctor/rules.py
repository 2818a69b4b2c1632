"""All rules: each finds one trap that a cluster accepts without a word.

A rule takes the whole shop and yields what it finds. Their order is that in which an event meets what they look at.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from shop.doctor import functions, identity, paths, placeholders, sources, topics
from shop.doctor.finding import Finding
from shop.doctor.reading import Document
from shop.doctor.shop import Shop

Rule = Callable[[Shop], Iterator[Finding]]

RULES: Final[tuple[Rule, ...]] = (
    functions.fixed_revision_names,
    functions.functions_that_are_not_there,
    functions.consumers_that_customers_reach,
    functions.handlers_that_scale_to_zero,
    functions.resources,
    functions.security_contexts,
    functions.array_limits,
    functions.serving_time_outs,
    functions.probes,
    functions.concurrency,
    functions.autoscaling,
    functions.selectors,
    identity.tokens_half_demanded,
    identity.what_anybody_may_do,
    sources.deliveries,
    sources.delivery_time_outs,
    sources.offsets_and_order,
    sources.groups,
    sources.sources_that_call_nobody,
    sources.topics_that_are_not_there,
    sources.more_consumers_than_partitions,
    sources.one_kafka,
    sources.one_login,
    topics.sinks_that_own_their_topic,
    topics.bindings,
    topics.topics,
    paths.timers,
    paths.routes,
    placeholders.placeholders,
)


def examine(documents: Iterable[Document]) -> list[Finding]:
    """Return all that the rules find, in their order."""
    shop = Shop(list(documents))
    return [finding for rule in RULES for finding in rule(shop)]

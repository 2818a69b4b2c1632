"""Mutants of knative/: a cluster takes each without a word."""

from proof.mutants.mutant import Mutant

_VALUES = "tests/knative/test_values.py"
_ADMISSION = "tests/knative/test_admission.py"
_AGREEMENT = "tests/knative/test_agreement.py"
_SCHEMAS = "tests/knative/test_schemas.py"
_BILLING = "billing-handler"
_ORDERS = "order-handler"
_NOTIFY = "notify-handler"
_RESEND = "resend-orders"
_TOPICS = "components/strimzi/topics"
_ROUTE = "components/gateway/http-route"


def _of(name: str, bug: str, old: str, new: str, *tests: str) -> Mutant:
    folder = "knative" if "/" in name else "knative/base"
    return Mutant(bug, f"{folder}/{name}.yaml", old, new, tests or (_VALUES,))


MUTANTS = (
    # --- Services
    _of(_BILLING, "a payment waits for a cold start", 'min-scale: "1"', 'min-scale: "0"'),
    _of(_NOTIFY, "a notification waits for a cold start", 'min-scale: "1"', 'min-scale: "0"'),
    _of(_ORDERS, "customers may call a consumer", "cluster-local # no", "public # no", _ADMISSION),
    _of("get-order", "a function takes one request at a time",
        "containerConcurrency: 0", "containerConcurrency: 1"),
    _of("create-order", "Serving answers before the function", "timeoutSeconds: 30", "timeoutSeconds: 8"),
    _of(_BILLING, "a draining consumer is killed", "timeoutSeconds: 30", "timeoutSeconds: 15"),
    _of(_ORDERS, "KafkaSource gives up before Serving", "timeoutSeconds: 30", "timeoutSeconds: 60"),
    _of("get-user", "memory has no limit that holds", "memory: 256Mi", "memory: 2Gi"),
    _of("deposit-cash", "no memory is asked for", "memory: 96Mi", "memory: 1Mi"),
    _of("list-notify", "a function is ready when its port is open", "path: /healthz", "path: /"),
    _of("get-basket", "the container runs as root", "runAsNonRoot: true", "runAsNonRoot: false", _ADMISSION),
    _of("create-user", "another function's code", "value: create_user", "value: get_user", _AGREEMENT),
    _of("get-order", "the secret of another database", "name: orders-mongodb", "name: billing-mongodb",
        _AGREEMENT),
    _of("create-user", "another key of the secret", "key: uri", "key: url"),
    _of(_BILLING, "an array grows for ever", 'value: "64"', 'value: "6400"'),
    _of("deposit-cash", "the archive takes one entry at a time", 'value: "32"', 'value: "1"'),
    # --- KafkaSources
    _of(_BILLING, "what came before is lost", "initialOffset: earliest", "initialOffset: latest", _ADMISSION),
    _of(_ORDERS, "a partition waits for each retry", "ordering: unordered", "ordering: ordered", _ADMISSION),
    _of(_ORDERS, "more dispatchers than work", "consumers: 1 #", "consumers: 4 #"),
    _of(_NOTIFY, "two sources share a group", "Group: notify-handler", "Group: order-handler", _ADMISSION),
    _of(_NOTIFY, "a consumer hears another topic", "topics: [results]", "topics: [payments]", _AGREEMENT),
    _of(_BILLING, "a payment is hardly retried", "retry: 5", "retry: 4"),
    _of(_BILLING, "retries run into resend", "retry: 5", "retry: 6"),
    _of(_ORDERS, "a settlement is retried late", "backoffDelay: PT0.5S", "backoffDelay: PT0.6S"),
    _of(_NOTIFY, "a notification is given up after half an hour", "retry: 40", "retry: 30"),
    _of(_NOTIFY, "waits of a notification double", "backoffPolicy: linear", "backoffPolicy: exponential"),
    _of(_NOTIFY, "a wait is cut to nothing", "backoffDelay: PT5S", "backoffDelay: PT0.05S", _ADMISSION),
    _of(_BILLING, "a request in progress is sent again", "timeout: PT60S", "timeout: PT6S"),
    _of(_NOTIFY, "a dead connection holds its place for ten minutes", "timeout: PT60S", "timeout: PT600S"),
    _of(_ORDERS, "what is given up goes round again", "name: dead-letters", "name: results", _AGREEMENT),
    _of(_BILLING, "a retry is misspelt", "retry: 5", "retries: 5", _SCHEMAS),
    # --- sinks, topics
    _of("kafka-sinks", "a sink writes to another topic", "topic: results", "topic: payments", _AGREEMENT),
    _of("create-order", "orders are emitted as results", "name: payments", "name: results", _AGREEMENT),
    _of(_TOPICS, "payments are kept a day", "604800000 # 7 days, longer", "86400000 # 7 days, longer"),
    _of(_TOPICS, "dead letters are kept a week", "retention.ms: 2592000000", "retention.ms: 604800000"),
    _of(_TOPICS, "dead letters have no order", "partitions: 1\n", "partitions: 10\n"),
    _of(_TOPICS, "an acknowledged dead letter is on one broker",
        "    min.insync.replicas: 2 # an event that was acknowledged outlives the loss of a broker\n"
        "    retention.ms: 2592000000",
        "    min.insync.replicas: 1 # an event that was acknowledged outlives the loss of a broker\n"
        "    retention.ms: 2592000000"),
    _of(_TOPICS, "a topic stops with the first broker", "partitions: 1\n  replicas: 3", "partitions: 1\n  replicas: 2"),
    # --- timer, route
    _of(_RESEND, "resend ticks every five minutes", '"* * * * *"', '"*/5 * * * *"'),
    _of(_RESEND, "ticks overlap", "timeoutSeconds: 30", "timeoutSeconds: 90"),
    _of(_ROUTE, "a path leads to another function", ": get-order.shop", ": get-basket.shop", _AGREEMENT),
    _of("kustomization", "a file is never applied", "  - resend-orders.yaml\n", "", _AGREEMENT),
)  # fmt: skip

"""What Knative's webhooks refuse, and what a cluster accepts without a word although it is wrong."""

import re

import pytest

from local.stand_ins.schedule import Schedule
from tests.support.manifests import Document, documents

RESERVED_ENV = {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "K_SINK", "K_CE_OVERRIDES"}
DURATION = re.compile(r"PT(\d+)(?:\.\d)?S")  # the dispatcher cuts off what is finer than a tenth of a second

services = pytest.mark.parametrize("document", documents("Service"), ids=str)
sources = pytest.mark.parametrize("document", documents("KafkaSource"), ids=str)


@pytest.mark.parametrize("document", documents(), ids=str)
def test_names_are_dns_labels_in_their_own_namespace(document: Document) -> None:
    """Everything is in `shop`, but for what belongs to Kafka's namespace and to the gateway's."""
    namespaces = {"Namespace": None, "KafkaTopic": "kafka", "ReferenceGrant": "kourier-system"}
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", document.name)
    assert document.content["metadata"].get("namespace") == namespaces.get(document.kind, "shop")


@services
def test_the_revision_is_named_by_knative(document: Document) -> None:
    """A name in the template makes a second apply of the same file fail, and SinkBindings with it."""
    assert "name" not in document.spec["template"].get("metadata", {})


@services
def test_autoscaling_annotations_are_known_and_in_the_template(document: Document) -> None:
    """On the Service itself they are refused; misspelt or unquoted they are accepted or refused in silence."""
    assert "annotations" not in document.content["metadata"]
    annotations = document.spec["template"].get("metadata", {}).get("annotations", {})
    assert annotations.keys() <= {"autoscaling.knative.dev/min-scale"}
    assert all(isinstance(value, str) for value in annotations.values())


@services
def test_no_variable_is_reserved_or_there_twice(document: Document) -> None:
    """Serving refuses its own variables, and a SinkBinding replaces its own."""
    names = [variable["name"] for variable in document.container["env"]]
    assert len(names) == len(set(names))
    assert not RESERVED_ENV & set(names)


@services
def test_visibility_is_cluster_local_or_absent(document: Document) -> None:
    """Any other value, `private` for one, leaves the Service public."""
    labels = document.content["metadata"].get("labels", {})
    assert labels in ({}, {"networking.knative.dev/visibility": "cluster-local"})


@services
def test_the_container_is_restricted(document: Document) -> None:
    """The container asks for what Pod Security's `restricted` demands, and cannot write to its own image."""
    assert document.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@services
def test_memory_is_bounded_and_requested(document: Document) -> None:
    """Knative has no defaults for requests and limits."""
    resources = document.container["resources"]
    assert {"cpu", "memory"} <= resources["requests"].keys()
    assert "memory" in resources["limits"]


@sources
def test_a_source_leaves_nothing_to_defaults(document: Document) -> None:
    """The defaults are a random group, `latest`, `ordered`, and no retry at all once there is a delivery block."""
    assert document.spec.keys() == {
        *("bootstrapServers", "topics", "consumerGroup", "consumers"),
        *("initialOffset", "ordering", "delivery", "sink"),
    }
    delivery = {"retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink"}
    assert document.spec["delivery"].keys() == delivery
    assert document.spec["initialOffset"] == "earliest"
    assert document.spec["ordering"] == "unordered"
    assert document.spec["delivery"]["backoffPolicy"] in {"exponential", "linear"}


@sources
@pytest.mark.parametrize("field", ["backoffDelay", "timeout"])
def test_durations_are_seconds_that_the_dispatcher_keeps(document: Document, field: str) -> None:
    """No webhook looks at them: `200ms` fails later, and a delay below a tenth of a second means no retry at all."""
    duration = document.spec["delivery"][field]
    assert DURATION.fullmatch(duration)
    assert duration not in {"PT0S", "PT0.0S"}


@sources
def test_waits_are_what_the_comment_says(document: Document) -> None:
    """Retry n waits backoffDelay * n (linear) or * 2^n; resend heals payments and settlements after 60 s."""
    delivery = document.spec["delivery"]
    delay_s = float(delivery["backoffDelay"].removeprefix("PT").removesuffix("S"))
    linear = delivery["backoffPolicy"] == "linear"
    waits_s = [delay_s * (n if linear else 2**n) for n in range(1, delivery["retry"] + 1)]
    total_s = sum(waits_s)
    if document.name == "notify-handler":
        assert 3600 < total_s < 2 * 3600  # nothing but a redrive heals it
        assert max(waits_s) <= 200  # a record that waits holds one of the source's places
    else:
        assert 12 < total_s < 60  # an election; the first resend


def test_consumer_groups_are_not_shared() -> None:
    """Two sources with one group would each get a part of the records."""
    groups = [document.spec["consumerGroup"] for document in documents("KafkaSource")]
    assert len(groups) == len(set(groups))


@pytest.mark.parametrize("document", documents("KafkaSink"), ids=str)
def test_a_sink_states_its_mode_and_owns_no_topic(document: Document) -> None:
    """With numPartitions and replicationFactor, deleting the KafkaSink would delete the topic."""
    assert document.spec.keys() == {"bootstrapServers", "topic", "contentMode"}
    assert document.spec["contentMode"] == "binary"


def test_one_binding_per_service() -> None:
    """There is only one K_SINK, so two bindings of one Service would overwrite each other."""
    subjects = [document.spec["subject"] for document in documents("SinkBinding")]
    assert all(subject.keys() == {"apiVersion", "kind", "name"} for subject in subjects)
    assert len({subject["name"] for subject in subjects}) == len(subjects)


@pytest.mark.parametrize("document", documents("PingSource"), ids=str)
def test_schedules_are_cron(document: Document) -> None:
    """`@every` is refused, and what local/ cannot read it would not do."""
    assert Schedule.parse(document.spec["schedule"])


def test_the_route_may_use_the_gateway_of_another_namespace() -> None:
    """Every backend has a port and a grant; without the grant the route answers 500."""
    (route,) = documents("HTTPRoute")
    (grant,) = documents("ReferenceGrant")
    assert grant.spec == {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}],
        "to": [{"group": "", "kind": "Service", "name": "kourier-internal"}],
    }
    for rule in route.spec["rules"]:
        assert rule["backendRefs"] == [{"name": "kourier-internal", "namespace": "kourier-system", "port": 80}]

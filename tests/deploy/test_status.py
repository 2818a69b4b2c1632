"""`make status` says where functions are, whether they are ready, and how far behind consumers are."""

from pathlib import Path
from typing import Any

import pytest

from deploy import smoke, status
from deploy.commands import Failed
from tests.deploy.standing_in import StandIns

TABLE = """
GROUP           TOPIC    PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  HOST  CLIENT-ID
order-handler   results  0          7               10              3    a            /1    b
order-handler   results  1          10              10              0    a            /1    b

GROUP           TOPIC    PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  HOST  CLIENT-ID
notify-handler  results  0          -               4               -    -            -     -
"""


def service(name: str, ready: str, latest: str, created: str = "") -> dict[str, Any]:
    """A function as the cluster has it."""
    told = {
        "latestReadyRevisionName": latest,
        "latestCreatedRevisionName": created or latest,
        "url": f"http://{name}.shop",
    }
    condition = {"type": "Ready", "status": ready, "reason": "RevisionMissing"}
    return {"metadata": {"name": name}, "status": {**told, "conditions": [condition]}}


def source(name: str, servers: str) -> dict[str, Any]:
    """A KafkaSource as the cluster has it."""
    spec = {"consumerGroup": name, "topics": ["results"], "bootstrapServers": [servers]}
    return {"metadata": {"name": name}, "spec": spec, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def cluster(tmp_path: Path, servers: str = "shop-kafka-bootstrap.kafka.svc:9092") -> StandIns:
    """A cluster with two functions and two consumers, as kubectl shows it."""
    there = StandIns(tmp_path, "kubectl")
    services = [service("get-basket", "True", "get-basket-00001"), service("order-handler", "False", "a-1", "a-2")]
    sources = [source("order-handler", servers), source("notify-handler", servers)]
    there.answer("kubectl", "get", "services.serving.knative.dev", outputs=[{"items": services}])
    there.answer("kubectl", "get", "kafkasources.sources.knative.dev", outputs=[{"items": sources}])
    there.answer("kubectl", "exec", outputs=[TABLE])
    return there


def test_a_line_for_each_function_and_each_consumer(tmp_path: Path) -> None:
    """The lag is a group's, over its partitions; one that has taken nothing has everything before it."""
    there = cluster(tmp_path)
    status.show(there.commands(), "shop")
    lines = [line.split() for line in there.said]
    assert ["get-basket", "yes", "get-basket-00001", "http://get-basket.shop"] in lines
    assert any("order-handler  no: RevisionMissing  a-1 (a-2 is not ready)" in line for line in there.said)
    assert ["order-handler", "yes", "results", "3"] in lines
    assert ["notify-handler", "yes", "results", "4"] in lines
    assert there.calls[-1][:6] == ["kubectl", "exec", "-n", "kafka", "service/shop-kafka-bootstrap", "--"]


def test_a_kafka_that_cannot_be_asked_is_said(tmp_path: Path) -> None:
    """The rest is shown all the same, with the command for wherever that Kafka can be reached."""
    (tmp_path / "elsewhere").mkdir()
    there = cluster(tmp_path / "elsewhere", "kafka.internal:9093")
    status.show(there.commands(), "shop")
    assert any("kafka-consumer-groups.sh --bootstrap-server kafka.internal:9093" in line for line in there.said)
    assert not [call for call in there.calls if call[1] == "exec"]
    assert ["order-handler", "yes", "results", "not", "known"] in [line.split() for line in there.said]
    (tmp_path / "refused").mkdir()
    refused = cluster(tmp_path / "refused")
    refused.answer("kubectl", "exec", error="error: no such file\n")
    status.show(refused.commands(), "shop")
    assert "How far behind the consumers are is not known: error: no such file" in refused.said


def test_a_cluster_that_does_not_answer_is_told_what_to_do(tmp_path: Path) -> None:
    """In kubectl's words, without its log, and with where to look."""
    there = StandIns(tmp_path, "kubectl")
    there.answer("kubectl", "get", error="E1127 10:41:26.028012 1 memcache.go:265] again\nrefused: is it there?\n")
    with pytest.raises(Failed, match=r"\Arefused: is it there\?\nNo cluster with Knative answers\..*current-context"):
        status.show(there.commands(), "shop")


def test_a_namespace_without_functions_is_told_what_to_do(tmp_path: Path) -> None:
    """An empty table would say nothing."""
    there = StandIns(tmp_path, "kubectl")
    there.answer("kubectl", "get", outputs=[{"items": []}])
    with pytest.raises(Failed, match="namespace other has no function: make deploy"):
        status.show(there.commands(), "other")
    with pytest.raises(Failed, match="these functions have no URL: create-user"):
        smoke.targets("", lambda: status.urls(there.commands(), "other"), there.said.append)

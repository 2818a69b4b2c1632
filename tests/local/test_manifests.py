"""The reader of the manifests refuses whatever local/ would not do, and says where it stands."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.fields import ManifestError
from local.manifests import Patch, Ref, SecretKey, read

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "local"
"""What one machine runs: the base, with its topics and its public paths."""

CLUSTER_ONLY = {"securityContext", "resources", "parentRefs", "backendRefs", "hostnames"}
"""Fields that are passed over whole; what is inside them is the cluster's business."""


def patched(*patches: Patch) -> Any:
    """Read the base with some fields changed."""
    return read(FOLDER, patches)


def test_the_base_says_what_to_start() -> None:
    """Every resource of the base is read."""
    manifests = read(FOLDER)
    assert len(manifests.services) == 11
    assert {sink.topic for sink in manifests.sinks} == {topic.name for topic in manifests.topics}
    services = {service.name: service for service in manifests.services}
    billing = services["billing-handler"]
    assert not billing.public
    assert services["get-basket"].public
    assert billing.env["MONGODB_URI"] == SecretKey("billing-mongodb", "uri")
    assert billing.env["ARRAY_LIMIT"] == "64"
    assert billing.timeout_s == 30
    sources = {source.name: source for source in manifests.sources}
    assert sources["billing-handler"].sink == Ref("Service", "shop", "billing-handler")
    assert sources["billing-handler"].delivery.dead_letter_sink == Ref("KafkaSink", "shop", "dead-letters")
    assert {route.path: route.service.name for route in manifests.routes}["/List"] == "list-notify"


def mappings(value: Any, pointer: str = "") -> Iterator[str]:
    """Yield the JSON pointer of every mapping that is not the cluster's alone."""
    if isinstance(value, dict):
        yield pointer
        for key, item in value.items():
            if key not in CLUSTER_ONLY and "/" not in key:
                yield from mappings(item, f"{pointer}/{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from mappings(item, f"{pointer}/{number}")


def places() -> Iterator[tuple[str, str, str]]:
    """Yield every mapping of every document that means something to local/: those of the folders that it lists."""
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
    for folder in (*listed["resources"], *listed.get("components", [])):
        for file in (FOLDER / folder).glob("*.yaml"):
            for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
                if document["kind"] not in {"Kustomization", "Component", "Namespace", "ReferenceGrant"}:
                    for pointer in mappings(document):
                        yield document["kind"], document["metadata"]["name"], pointer


def test_an_unknown_field_is_an_error_wherever_it_is() -> None:
    """There is no mapping in which a field that nobody reads goes unnoticed."""
    assert {kind for kind, _, _ in places()} >= {"Service", "KafkaSource", "KafkaSink", "KafkaTopic", "HTTPRoute"}
    for kind, name, pointer in places():
        with pytest.raises(ManifestError, match="unheardOf is not implemented by local/"):
            patched(Patch(kind, name, f"{pointer}/unheardOf", {"of": 1}))


def test_an_error_names_file_and_field() -> None:
    """The message leads to the line to change."""
    with pytest.raises(ManifestError) as error:
        patched(Patch("Service", "get-basket", "/spec/template/spec/containers/0/lifecycle", {}))
    place = "spec.template.spec.containers[0].lifecycle"
    assert str(error.value) == f"{FOLDER / '../knative/base/get-basket.yaml'}: {place} is not implemented by local/"


CONTAINER = "/spec/template/spec/containers/0"
TWICE = [{"name": "FUNCTION_TARGET", "value": "a"}, {"name": "FUNCTION_TARGET", "value": "b"}]


@pytest.mark.parametrize(
    ("kind", "name", "pointer", "value", "message"),
    [
        ("Service", "get-user", "/apiVersion", "serving.knative.dev/v2", "Service of serving.knative.dev/v2"),
        ("Service", "get-user", "/kind", "Job", "Job of serving.knative.dev/v1"),
        ("Service", "get-user", "/spec/template/spec/containerConcurrency", 5, "5 is not implemented"),
        ("Service", "get-user", "/spec/template/spec/containerConcurrency", False, "is not of type int"),
        ("Service", "get-user", "/spec/template/spec/timeoutSeconds", "30", "is not of type int"),
        ("Service", "get-user", "/spec/template/spec/containers", [], "0 items are not implemented"),
        ("Service", "get-user", f"{CONTAINER}/env", TWICE, "FUNCTION_TARGET is there twice"),
        ("Service", "get-user", f"{CONTAINER}/env/0/value", 1, "env[0].value 1 is not of type str"),
        ("Service", "get-user", f"{CONTAINER}/env/1/valueFrom/secretKeyRef/key", "url", "'url' is not implemented"),
        ("Service", "get-user", f"{CONTAINER}/readinessProbe/httpGet", None, "is not of type dict"),
        (
            *("Service", "order-handler", "/metadata/labels", {"networking.knative.dev/visibility": "private"}),
            "'private' is not implemented",
        ),
        ("SinkBinding", "create-order", "/spec/sink/ref/name", "nowhere", "is nowhere in the manifests"),
        ("SinkBinding", "create-order", "/spec/sink/ref/kind", "Broker", "'Broker' is not implemented"),
        ("KafkaSource", "order-handler", "/spec/ordering", "sorted", "'sorted' is not implemented"),
        ("KafkaSource", "order-handler", "/spec/topics", ["unknown"], "no KafkaTopic is called unknown"),
        ("KafkaSource", "order-handler", "/spec/topics", [1], "spec.topics[0] 1 is not a string"),
        ("KafkaSource", "order-handler", "/spec/bootstrapServers", ["other:9092"], "is not implemented"),
        ("KafkaSource", "order-handler", "/spec/delivery/deadLetterSink/ref/name", "gone", "is nowhere"),
        ("KafkaSource", "order-handler", "/spec/delivery", {}, "spec.delivery.retry is missing"),
        ("PingSource", "resend-orders", "/spec/schedule", "@hourly", "spec.schedule '@hourly' does not have"),
        ("HTTPRoute", "shop", "/spec/rules/0/matches/0/path/type", "PathPrefix", "'PathPrefix' is not implemented"),
        ("HTTPRoute", "shop", "/spec/rules/0/filters/0/type", "RequestMirror", "'RequestMirror' is not"),
        (
            *("HTTPRoute", "shop", "/spec/rules/0/filters/0/urlRewrite/hostname", "get-user.other.svc.cluster.local"),
            "is not that of a Service in shop",
        ),
        (
            *("HTTPRoute", "shop", "/spec/rules/0/filters/0/urlRewrite/hostname"),
            *("order-handler.shop.svc.cluster.local", "which is cluster-local"),
        ),
    ],
)
def test_a_value_that_local_does_not_implement_is_an_error(
    kind: str, name: str, pointer: str, value: object, message: str
) -> None:
    """Nothing that is written is ignored."""
    with pytest.raises(ManifestError) as error:
        patched(Patch(kind, name, pointer, value))
    assert message in str(error.value)


def test_a_patch_changes_one_field_of_one_resource() -> None:
    """A patch stands for an overlay, and the folder stays as it is."""
    before = read(FOLDER)
    after = patched(Patch("KafkaSource", "billing-handler", "/spec/delivery/retry", 1))
    changed = [source.name for source, other in zip(before.sources, after.sources, strict=True) if source != other]
    assert changed == ["billing-handler"]
    assert read(FOLDER) == before


@pytest.mark.parametrize(
    "patch",
    [
        Patch("KafkaSource", "nobody", "/spec/delivery/retry", 1),
        Patch("KafkaSource", "billing-handler", "/spec/delivry/retry", 1),
        Patch("HTTPRoute", "shop", "/spec/rules/99", {}),
        Patch("HTTPRoute", "shop", "/spec/rules/first", {}),
    ],
    ids=str,
)
def test_a_patch_of_nothing_is_an_error(patch: Patch) -> None:
    """A test that meant to change something must not run without the change."""
    with pytest.raises(ManifestError):
        patched(patch)


KUSTOMIZATION = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
    "resources": ["namespace.yaml"],
}


def folder(path: Path, kustomization: dict[str, Any], text: str) -> Path:
    """Write a folder with one resource."""
    (path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    (path / "namespace.yaml").write_text(text)
    return path


def test_a_key_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    """A cluster takes the last one without a word."""
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\nmetadata: {name: b}\n"
    with pytest.raises(ManifestError, match="metadata is there twice"):
        read(folder(tmp_path, KUSTOMIZATION, text))


@pytest.mark.parametrize("text", ["[]", "a: [", "text"])
def test_what_is_no_manifest_is_an_error(tmp_path: Path, text: str) -> None:
    """The message names the file."""
    with pytest.raises(ManifestError, match=r"namespace\.yaml"):
        read(folder(tmp_path, KUSTOMIZATION, text))


def test_a_kustomization_that_changes_resources_is_an_error(tmp_path: Path) -> None:
    """Transformers are not implemented, so they cannot be there."""
    kustomization = copy.deepcopy(KUSTOMIZATION) | {"namePrefix": "test-"}
    with pytest.raises(ManifestError, match="namePrefix is not implemented by local/"):
        read(folder(tmp_path, kustomization, "apiVersion: v1\nkind: Namespace\n"))


def test_a_resource_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The message names the missing file."""
    with pytest.raises(ManifestError, match=r"missing\.yaml"):
        read(folder(tmp_path, KUSTOMIZATION | {"resources": ["missing.yaml"]}, ""))

"""Zipkin is handed what OpenTelemetry was told."""

import json

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from local.stand_ins.otlp_to_zipkin import translated

TRACE, ROOT, CHILD = bytes(range(16)), bytes(range(8)), bytes(range(1, 9))


def attribute(key: str, value: str | int | bool) -> KeyValue:
    """Return an attribute, of the type that its value has."""
    name = {str: "string_value", int: "int_value", bool: "bool_value"}[type(value)]
    return KeyValue(key=key, value=AnyValue(**{name: value}))


def test_a_span_keeps_its_ids_times_and_attributes() -> None:
    """Links and errors are tags; the root has no parent; nothing lasts no time at all."""
    request = ExportTraceServiceRequest()
    of = request.resource_spans.add()
    of.resource.attributes.append(attribute("service.name", "get-user"))
    spans = of.scope_spans.add().spans
    spans.add(trace_id=TRACE, span_id=ROOT, name="GET get_user", kind=Span.SPAN_KIND_SERVER, start_time_unix_nano=5_000)
    spans[0].end_time_unix_nano = 12_999
    child = spans.add(trace_id=TRACE, span_id=CHILD, parent_span_id=ROOT, name="find users", kind=Span.SPAN_KIND_CLIENT)
    child.attributes.extend([attribute("server.port", 27017), attribute("shop.replayed", False)])
    child.links.add(trace_id=TRACE, span_id=ROOT)
    child.status.code, child.status.message = Status.STATUS_CODE_ERROR, "11600"
    root, statement = json.loads(json.dumps(list(translated(request))))
    assert root == {
        "traceId": TRACE.hex(),
        "id": ROOT.hex(),
        "name": "GET get_user",
        "kind": "SERVER",
        "timestamp": 5,
        "duration": 7,
        "localEndpoint": {"serviceName": "get-user"},
        "tags": {},
    }
    assert (statement["parentId"], statement["kind"], statement["duration"]) == (ROOT.hex(), "CLIENT", 1)
    assert statement["tags"] == {
        "server.port": "27017",
        "shop.replayed": "false",
        "links": f"{TRACE.hex()}-{ROOT.hex()}",
        "error": "11600",
    }

"""docs/openapi.yaml, and answers held to it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "openapi.yaml"
DOCUMENT: Mapping[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))

_OURS = {"idempotent-replayed", "preference-applied", "retry-after", "traceparent", "allow", "www-authenticate"}
"""The headers that mean something to a caller; the document says where each may be."""

_registry: Registry[Any] = Registry().with_resource("openapi:", DRAFT202012.create_resource(DOCUMENT))


def operations() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Return path, method in capitals and operation."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def example(function: str) -> tuple[str, dict[str, Any]]:
    """Return the method of a function, and the first request that the document shows of it."""
    ((method, operation),) = [(m, o) for _, m, o in operations() if o["operationId"] == function]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    return method, dict(next(iter(examples.values()))["value"])


def resolve(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a `$ref` leads to, or the item itself."""
    while "$ref" in item:
        target: Any = DOCUMENT
        for key in item["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        item = target
    return item


def validate(instance: object, schema: Mapping[str, Any]) -> None:
    """Hold a value to a schema of the document. Raises jsonschema's ValidationError."""
    # Within the document, so that its references are found.
    registry = _registry.with_resource("openapi:", DRAFT202012.create_resource({**DOCUMENT, "x-schema": schema}))
    validator = Draft202012Validator({"$ref": "openapi:#/x-schema"}, registry=registry)
    validator.validate(instance)


def check_answer(path: str, status: int, headers: Mapping[str, str], body: bytes, method: str = "") -> None:
    """Hold an answer to what the document says of this path and status: its media type, content and headers.

    Name the method where it may be HEAD, whose answers have no body, or OPTIONS, whose answer no path describes.
    """
    assert headers["cache-control"] == "no-store"
    if (method, status) == ("OPTIONS", 200):
        assert (headers.keys() & _OURS, body) == ({"allow", "traceparent"}, b"")
        return
    ((_, operation),) = DOCUMENT["paths"][path].items()
    answer = resolve(operation["responses"][str(status)])
    media_type = headers["content-type"].partition(";")[0]
    schema = answer["content"][media_type]["schema"]
    if method == "HEAD":
        assert body == b""
    else:
        validate(json.loads(body) if media_type.endswith("json") else body.decode(), schema)
    documented = {name.lower(): resolve(header) for name, header in answer.get("headers", {}).items()}
    for name, header in documented.items():
        assert name in headers or not header.get("required"), f"{path} {status} lacks {name}"
        if name in headers:
            validate(headers[name], header["schema"])
    assert headers.keys() & _OURS <= documented.keys(), f"{path} {status} has a header that is not documented"

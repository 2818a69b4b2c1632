"""What a cluster knows of the kinds that we use: the structure of their CRDs, which every clone has.

`python -m tests.knative.structure CRD.yaml...` writes it anew from CustomResourceDefinitions, in the version that our
manifests use. tests/knative/schemas/README.md says where those are from.
"""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.support.manifests import KNATIVE, Document, documents, documents_in

SCHEMAS = Path(__file__).parent / "schemas"
OIDC = KNATIVE / "components" / "oidc"
"""Where the one kind stands of which one machine runs nothing: EventPolicy."""

_KEPT = {
    *("type", "properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    *("items", "minItems", "maxItems", "enum", "pattern", "format", "minLength", "maxLength", "minimum", "maximum"),
    *("anyOf", "oneOf", "allOf", "not", "nullable"),
    *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"),
}
"""What validates, or says where a schema is open. Prose, defaults and rules in CEL are left out."""


def structure(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a schema checks, without its words."""
    kept = {key: value for key, value in schema.items() if key in _KEPT}
    if "properties" in kept:
        kept["properties"] = {name: structure(field) for name, field in kept["properties"].items()}
    for key in ("items", "additionalProperties", "not"):
        if isinstance(kept.get(key), Mapping):
            kept[key] = structure(kept[key])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in kept:
            kept[key] = [structure(one) for one in kept[key]]
    return kept


def closed(schema: Any) -> Any:
    """Return the schema with unknown fields forbidden wherever an API server would prune them."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    return result


def stored(kind: str) -> dict[str, Any]:
    """Return what is kept of a kind: its apiVersion and the schema of that version."""
    text = (SCHEMAS / f"{kind}.yaml").read_text(encoding="utf-8")
    kept: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return kept


@cache
def validator(kind: str, api_version: str) -> Draft202012Validator:
    """Return the checker of one kind in one version."""
    kept = stored(kind)
    assert kept["apiVersion"] == api_version, f"{kind} is kept as {kept['apiVersion']}, not {api_version}"
    schema = closed(kept["schema"])
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}  # some CRDs leave them out
    names = {name: {"type": "string"} for name in ("name", "namespace")}
    texts = {name: {"additionalProperties": {"type": "string"}} for name in ("labels", "annotations")}
    schema["properties"]["metadata"] = {
        "properties": names | texts,
        "required": ["name"],
        "additionalProperties": False,
    }
    return Draft202012Validator(schema)


def errors(content: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a document."""
    found = validator(content["kind"], content["apiVersion"]).iter_errors(content)
    return [f"{error.json_path}: {error.message}" for error in found]


def write(definition: Mapping[str, Any], used: list[Document], folder: Path = SCHEMAS) -> None:
    """Write what is kept of a CustomResourceDefinition: the one version that our manifests use, without its status."""
    spec = definition["spec"]
    kind, group = spec["names"]["kind"], spec["group"]
    versions = {f"{group}/{version['name']}": version["schema"]["openAPIV3Schema"] for version in spec["versions"]}
    (api_version,) = {
        document.content["apiVersion"]
        for document in used
        if document.kind == kind and document.content["apiVersion"] in versions
    }
    schema = structure(versions[api_version])
    schema["properties"].pop("status", None)  # the cluster's to write
    kept = {"apiVersion": api_version, "schema": schema}
    text = yaml.safe_dump(kept, width=120, default_flow_style=None, sort_keys=True)
    (folder / f"{kind}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(yaml.safe_load(Path(name).read_text(encoding="utf-8")), [*documents(), *documents_in(OIDC)])

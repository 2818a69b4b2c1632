"""Write the schemas of docs/openapi.yaml: each message of the three services as the JSON that it is.

`make schema` runs it. By hand stay paths, descriptions of operations, examples, and the values above the generated part
of `components.schemas`: what a .proto cannot say. A field takes its value by name, the first of these that is there:
`OrderResponse.message` (that field alone), `BasketSent` (a `basket` in a request), `Basket`. What has none goes by its
type, and what has a range in schema/ by that. Descriptions are the comments in the .proto files.

A request of a POST refuses what it does not name. An answer may have more than it names: a client that was generated
from an older document has to read a newer one's.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from shop.messages import RANGES
from shop.schema import billing_pb2, events_pb2, notify_pb2, options_pb2, orders_pb2

ROOT: Final = Path(__file__).parents[1]
DOCUMENT: Final = ROOT / "docs" / "openapi.yaml"

BEGIN: Final = "    # --- Written from schema/*.proto by `make schema`: change them there.\n"
END: Final = "    # --- By hand again.\n"

SERVICES: Final = (billing_pb2, orders_pb2, notify_pb2)

_JSON_TYPES: Final = {
    FieldDescriptorProto.TYPE_STRING: "string",
    FieldDescriptorProto.TYPE_INT64: "integer",
    FieldDescriptorProto.TYPE_BOOL: "boolean",
}


def written(document: str) -> str:
    """Return the text of the document with its generated part as schema/ says it now."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"{DOCUMENT} lacks {BEGIN.strip()!r} and, after it, {END.strip()!r}")
    by_hand = yaml.safe_load(before + after)
    schemas = _Schemas(by_hand["components"]["schemas"].keys(), _posted(by_hand), _comments()).all()
    text = yaml.dump(schemas, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return before + BEGIN + "".join(f"    {line}\n" for line in text.splitlines()) + END + after


def _posted(document: Mapping[str, Any]) -> set[str]:
    """Return the names of the requests of POSTs."""
    bodies = (methods["post"]["requestBody"] for methods in document["paths"].values() if "post" in methods)
    return {body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2] for body in bodies}


def _comments() -> Mapping[str, str]:
    """Return the comments on messages, by name, and on their fields, as `Message.field`, as sentences."""
    with tempfile.NamedTemporaryFile() as file:
        files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "schema").glob("*.proto"))]
        options = [f"-Ishop/schema={ROOT / 'schema'}", "--include_source_info", f"--descriptor_set_out={file.name}"]
        if protoc.main(["protoc", *options, _WELL_KNOWN, *(f"shop/{name}" for name in files)]):
            raise ValueError("protoc does not read schema/*.proto")
        described = FileDescriptorSet.FromString(Path(file.name).read_bytes())
    comments = {}
    for each in described.file:
        for location in each.source_code_info.location:
            text = (location.leading_comments or location.trailing_comments).strip()
            match list(location.path):
                case [4, message] if text:
                    comments[each.message_type[message].name] = _sentence(text)
                case [4, message, 2, field] if text:
                    name = each.message_type[message].field[field].name
                    comments[f"{each.message_type[message].name}.{name}"] = _sentence(text)
    return comments


_WELL_KNOWN: Final = f"-I{Path(protoc.__file__).parent / '_proto'}"


def _sentence(comment: str) -> str:
    text = " ".join(comment.split())
    return text[0].upper() + text[1:].removesuffix(".") + "."


class _Dumper(yaml.SafeDumper):
    """Writes as a hand would: a list and a lone value on one line, every other field on a line of its own."""


def _mapping(dumper: _Dumper, mapping: Mapping[str, Any]) -> yaml.Node:
    lone = len(mapping) == 1 and not any(isinstance(value, dict | list) for value in mapping.values())
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping, flow_style=lone)


def _list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(dict, _mapping)
_Dumper.add_representer(list, _list)


class _Schemas:
    """Makes the schemas of all messages, and of the values that have a range."""

    def __init__(self, by_hand: Any, posted: set[str], comments: Mapping[str, str]) -> None:
        self._values = {*by_hand, *map(_camel, RANGES)}
        self._posted = posted
        self._comments = comments

    def all(self) -> dict[str, Any]:
        """Return them by name: the values, and then the messages of one service after the other."""
        messages = [each for file in SERVICES for each in file.DESCRIPTOR.message_types_by_name.values()]
        return dict(self._ranged()) | {message.name: self._message(message) for message in messages}

    def _ranged(self) -> Iterator[tuple[str, Any]]:
        """Yield the values with a range that an answer or a request has; the comment is that of where it is said."""
        known = {field.name for file in SERVICES for each in _messages(file) for field in each.fields}
        for file in (events_pb2, *SERVICES):
            for message in _messages(file):
                for field in message.fields:
                    if field.name in known and field.GetOptions().HasExtension(options_pb2.range):
                        low, high = RANGES[field.name]
                        value = {"type": "integer", "minimum": low, "maximum": high}
                        yield _camel(field.name), self._described(f"{message.name}.{field.name}", value)

    def _message(self, message: Any) -> dict[str, Any]:
        names = [field.name for field in message.fields]
        schema: dict[str, Any] = {"type": "object"}
        if message.name in self._posted:
            schema["additionalProperties"] = False
            schema["required"] = [field.name for field in message.fields if not field.has_presence]
        elif not message.name.endswith("Request"):
            schema["required"] = names
        schema["properties"] = {field.name: self._field(message, field) for field in message.fields}
        return self._described(message.name, schema)

    def _field(self, message: Any, field: Any) -> dict[str, Any]:
        said = f"{message.name}.{field.name}"
        schema = self._value(message, field)
        if field.is_repeated:
            most = field.GetOptions().Extensions[options_pb2.at_most]
            schema = {"type": "array", **({"maxItems": most} if most else {}), "items": schema}
        elif field.containing_oneof is not None:  # `optional`
            schema = {"oneOf": [schema, {"type": "null"}]}
        has_its_own = said in self._values and not field.is_repeated
        is_said_here = field.GetOptions().HasExtension(options_pb2.range)  # and so described with the value
        return schema if has_its_own or is_said_here else self._described(said, schema)

    def _value(self, message: Any, field: Any) -> dict[str, Any]:
        """Return the schema of a field's value, or of an item of a list."""
        sent = [f"{_camel(field.name)}Sent"] if message.name.endswith("Request") else []
        for name in (f"{message.name}.{field.name}", *sent, _camel(field.name)):
            if name in self._values:
                return _reference(name)
        if field.message_type is not None:
            name = field.message_type.name
            return _reference("Time" if name == "Timestamp" else name)
        return {"type": _JSON_TYPES[field.type]}

    def _described(self, said: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"description": self._comments[said], **schema} if said in self._comments else schema


def _messages(file: Any) -> Any:
    return file.DESCRIPTOR.message_types_by_name.values()


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")

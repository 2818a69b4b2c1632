"""docs/openapi.yaml says what the functions do: neither knows a path, a field or a limit that the other does not."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from jsonschema import ValidationError

from schema import openapi as generator
from shop import billing, messages, notifications
from shop.edge import handling
from shop.errors import Impossible
from shop.schema import billing_pb2, notify_pb2, orders_pb2
from tests.support import openapi
from tests.support.functions import FUNCTIONS, PATHS, triggered

SCHEMAS: dict[str, Any] = openapi.DOCUMENT["components"]["schemas"]
MESSAGES: dict[str, type[Message]] = {
    name: getattr(module, name)
    for module in (billing_pb2, orders_pb2, notify_pb2)
    for name in module.DESCRIPTOR.message_types_by_name
}
OPERATIONS = {operation["operationId"]: (path, method, operation) for path, method, operation in openapi.operations()}

messages_of_ours = pytest.mark.parametrize("name", MESSAGES)
operations = pytest.mark.parametrize("function", OPERATIONS)


def functions_source(function: str) -> str:
    """Return the text of a function's main.py."""
    return (openapi.ROOT / "functions" / function / "main.py").read_text()


def schema_name(body: Mapping[str, Any]) -> str:
    """Return the name of the schema of a request's body or of an answer."""
    return str(body["content"]["application/json"]["schema"]["$ref"]).rpartition("/")[2]


def json_type(field: FieldDescriptor) -> str:
    """Return the JSON type that a field is sent as; a time, the one message that is a field of its own, is text."""
    types = {field.CPPTYPE_INT64: "integer", field.CPPTYPE_BOOL: "boolean"}
    return "array" if field.is_repeated else types.get(field.cpp_type, "string")


def json_types(schema: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a schema admits."""
    schema = openapi.resolve(schema)
    if "oneOf" in schema:
        return {name for choice in schema["oneOf"] for name in json_types(choice)}
    if "type" in schema:
        return {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    return {{bool: "boolean", str: "string"}[type(value)] for value in schema.get("enum", [schema.get("const")])}


def parameters(operation: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return an operation's parameters in the query or in the headers, by name."""
    resolved = [openapi.resolve(parameter) for parameter in operation.get("parameters", [])]
    return {parameter["name"]: parameter for parameter in resolved if parameter["in"] == where}


def test_the_documented_paths_are_the_http_functions() -> None:
    """Each path and method is that of one function, as its label and the HTTPRoute say; no function is left out."""
    served = {name: (PATHS[name], each.label.trigger) for name, each in triggered("GET", "POST").items()}
    assert {function: (path, method) for function, (path, method, _) in OPERATIONS.items()} == served


def test_the_schemas_are_those_that_make_schema_writes() -> None:
    """What the .proto files say is written from them, and from nothing else."""
    document = openapi.FILE.read_text(encoding="utf-8")
    assert generator.written(document) == document


def test_a_part_that_cannot_be_found_is_not_written() -> None:
    """A document without its marks stays as it is."""
    with pytest.raises(ValueError, match="By hand again"):
        generator.written(openapi.FILE.read_text(encoding="utf-8").replace(generator.END, ""))


def test_the_documented_version_is_the_project_s() -> None:
    """The document is released with the code it describes."""
    project = tomllib.loads((openapi.ROOT / "pyproject.toml").read_text())["project"]
    assert openapi.DOCUMENT["info"]["version"] == project["version"]
    assert openapi.DOCUMENT["info"]["license"]["identifier"] == project["license"]


@messages_of_ours
def test_a_documented_object_has_the_fields_of_its_message(name: str) -> None:
    """Each message of the three services is a schema of the same name, with the same fields."""
    assert set(SCHEMAS[name]["properties"]) == set(MESSAGES[name].DESCRIPTOR.fields_by_name)


@messages_of_ours
def test_a_documented_field_has_the_type_of_its_message_s(name: str) -> None:
    """Text is a string, int64 an integer, a time a string, and only what is `optional` may be null."""
    for field in MESSAGES[name].DESCRIPTOR.fields:
        nullable = {"null"} if field.containing_oneof else set()  # how protobuf describes `optional`
        documented = json_types(SCHEMAS[name]["properties"][field.name])
        assert documented == {json_type(field)} | nullable, field.name


@operations
def test_an_operation_takes_and_gives_the_messages_of_its_function(function: str) -> None:
    """Body and answer are <Name>Request and <Name>Response; a GET takes the same fields in its query."""
    _, method, operation = OPERATIONS[function]
    request = schema_name(operation["requestBody"])
    response = schema_name(operation["responses"]["200"])
    assert response == request.replace("Request", "Response")
    label = FUNCTIONS[function].label
    assert (label.takes, label.answers) == (MESSAGES[request], MESSAGES[response])
    fields = set(MESSAGES[request].DESCRIPTOR.fields_by_name if method == "GET" else ())
    assert set(parameters(operation, "query")) == fields | ({"wait"} if label.waits else set())


@operations
def test_an_operation_names_the_headers_that_its_function_reads(function: str) -> None:
    """Accept apart, which OpenAPI has media types for."""
    _, _, operation = OPERATIONS[function]
    read = {"Idempotency-Key"} if "call.idempotency_key" in functions_source(function) else set()
    waits = {"Prefer"} if FUNCTIONS[function].label.waits else set()
    assert parameters(operation, "header").keys() == read | waits


@messages_of_ours
def test_what_must_be_there_is_documented(name: str) -> None:
    """A POST takes its fields and no others, and needs those that are not optional; an answer has all of its fields.

    It may have more: a client that was generated from this document reads what a later version answers.
    """
    fields = MESSAGES[name].DESCRIPTOR.fields
    required = SCHEMAS[name].get("required", [])
    if not name.endswith("Request"):
        assert "additionalProperties" not in SCHEMAS[name]
        assert required == [field.name for field in fields]
    elif name in {
        schema_name(operation["requestBody"]) for _, method, operation in OPERATIONS.values() if method == "POST"
    }:
        assert required == [field.name for field in fields if not field.has_presence]
        assert SCHEMAS[name]["additionalProperties"] is False
    else:
        assert not required


@operations
def test_an_operation_documents_its_errors(function: str) -> None:
    """Every function may answer these; 404 is for those that look for something that must be there."""
    raises_not_found = function in {"deposit_cash", "get_user", "create_order", "get_order"}
    expected = {"200", "400", "401", "403", "405", "413", "422", "500", "503"} | (
        {"404"} if raises_not_found else set()
    )
    assert OPERATIONS[function][2]["responses"].keys() == expected


def test_the_documented_limits_are_the_code_s() -> None:
    """A limit that is changed in one place only fails here."""
    key = openapi.DOCUMENT["components"]["parameters"]["Idempotency-Key"]["schema"]
    assert (SCHEMAS["Sum"]["minimum"], SCHEMAS["Sum"]["maximum"]) == (1, messages.MAX_SUM)
    assert SCHEMAS["Balance"]["maximum"] == messages.MAX_BALANCE
    assert (SCHEMAS["User"]["minLength"], SCHEMAS["User"]["maxLength"]) == (1, messages.MAX_USER)
    assert SCHEMAS["Attempt"]["maximum"] == SCHEMAS["Number"]["maximum"] == messages.MAX_INT64 - 1
    assert parameters(OPERATIONS["list_notify"][2], "query")["limit"]["schema"]["default"] == notifications.PAGE
    for listed in ("paid_baskets", "deposits"):
        assert SCHEMAS["GetUserResponse"]["properties"][listed]["maxItems"] == billing.SHOWN
    for listed in ("log", "notifications"):
        assert SCHEMAS["ListResponse"]["properties"][listed]["maxItems"] == SCHEMAS["Limit"]["maximum"]
    assert (
        openapi.DOCUMENT["components"]["responses"]["TooLarge"]["description"]
        == f"The body is over {handling.MAX_BODY} bytes."
    )
    for value in ("!" * key["maxLength"], "~"):
        messages.check_idempotency_key(value)
    with pytest.raises(Impossible):
        messages.check_idempotency_key("!" * (key["maxLength"] + 1))


LIMITED = {
    "user": ("User", ["", "P", "Павел", "$balance", "😀" * 128, "x" * 129, "a\nb", "\x7f", "\x9f", " "]),
    "basket": ("BasketSent", ["a" * 23, "a" * 24, "A" * 24, "a" * 25, "g" * 24]),
    "sum": ("Sum", [-1, 0, 1, 10**12, 10**12 + 1, 2**63, 10**400]),
    "attempt": ("Attempt", [-1, 0, 1, 2**63 - 2, 2**63 - 1, 10**400]),
    "limit": ("Limit", [-1, 0, 1, 1000, 1001]),
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, (_, values) in LIMITED.items() for value in values]
)
def test_code_and_document_accept_the_same_values(field: str, value: object) -> None:
    """What one of them refuses the other does not accept."""
    assert accepts(lambda: messages.CHECKS[field](value), Impossible) == accepts(
        lambda: openapi.validate(value, SCHEMAS[LIMITED[field][0]]), ValidationError
    )


def accepts(check: Callable[[], None], refusal: type[Exception]) -> bool:
    """Tell whether a check passes; it raises this when it does not."""
    try:
        check()
    except refusal:
        return False
    return True


def test_the_documented_examples_are_valid() -> None:
    """Requests, parameters and answers, wherever one is shown."""
    checked = 0
    for where in _dictionaries(openapi.DOCUMENT):
        if "schema" not in where:
            continue
        shown = [example["value"] for example in where.get("examples", {}).values()]
        for example in [*shown, *([where["example"]] if "example" in where else [])]:
            openapi.validate(example, where["schema"])
            checked += 1
    assert checked > 20


def _dictionaries(item: object) -> Iterator[dict[str, Any]]:
    if isinstance(item, dict):
        yield item
    for value in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
        yield from _dictionaries(value)

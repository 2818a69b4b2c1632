"""Answer HTTP with JSON, as docs/openapi.yaml describes it.

The shop has clients that were written for another one, so it is generous with the form of a request (any path, host and
Content-Type; a GET may bring its fields as a JSON body or in the query) and strict with its content.
"""

import difflib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import parse_qsl

from google.protobuf.message import Message

from shop.edge import admission, spans
from shop.edge.asgi import Request, Response, in_json, in_text
from shop.edge.call import KEY_LETTERS, Call, accepted, calls
from shop.edge.handling import Edge, Function, Handling, Label, function
from shop.edge.wait import WAIT, Wait, asked_wait
from shop.errors import Code, Forbidden, Malformed, Rejected, Unauthenticated, Unavailable
from shop.identity.caller import Needs
from shop.messages import Event, from_json, is_text, refuse_unknown, service, shown, to_json
from shop.process import context, process
from shop.store.readiness import Epoch

M = TypeVar("M", bound=Message)
A = TypeVar("A", bound=Message)

RETRY_AFTER_S = 1
"""Soon: a failover of MongoDB takes seconds, and a client that waited a minute for it would be gone."""


@dataclass(frozen=True)
class Answer(Generic[A]):
    """A response with what is not in its schema."""

    response: A
    replayed: bool = False
    """The request had been done before: the header `Idempotent-Replayed` says so."""

    text: str | None = None
    """To send as text/plain in place of JSON."""

    later: Callable[[], Awaitable[A]] | None = None
    """What tells more than the response as soon as there is more, for a client that waits for it."""


Decorate = Callable[[Callable[[M, Call], Awaitable[A | Answer[A]]]], Function]


def get(
    kind: type[M], answers: type[A], *, needs: Needs = "user", waits: bool = False, makes: bool = False
) -> Decorate[M, A]:
    """Make an HTTP function that answers GET: it is called with such a request, and returns such a response.

    Where tokens are demanded, it `needs` that of the user whom the request names, or an admin's. One that `waits` lets
    a client wait for what its answer says comes later. HEAD is answered as GET, unless GET `makes` something: then HEAD
    could not tell what GET would without making it.
    """
    allows = ("GET", "OPTIONS") if makes else ("GET", "HEAD", "OPTIONS")
    return _endpoint("GET", kind, answers, None, needs, waits=waits, allows=allows)


def post(
    kind: type[M],
    answers: type[A],
    *,
    needs: Needs = "user",
    emits: type[Event] | None = None,
    waits: bool = False,
) -> Decorate[M, A]:
    """Make an HTTP function that answers POST, as `get` makes one that answers GET."""
    return _endpoint("POST", kind, answers, emits, needs, waits=waits, allows=("POST", "OPTIONS"))


def _endpoint(
    method: Literal["GET", "POST"],
    kind: type[M],
    answers: type[A],
    emits: type[Event] | None,
    needs: Needs,
    *,
    waits: bool,
    allows: tuple[str, ...],
) -> Decorate[M, A]:
    label, call = Label(service(kind), method, kind, answers, emits, needs, waits), calls(emits)

    def decorate(answer_it: Callable[[M, Call], Awaitable[A | Answer[A]]]) -> Function:
        async def work(request: Request, body: bytes, _: Epoch, handling: Handling) -> Response:
            caller = None if process.current().settings.auth is None else await admission.identify(request)
            query = _query(request)
            fields = _fields(kind, method, query, body, parameters=(WAIT,) if waits else ())
            handling.key = str(fields.get("basket") or fields.get("user") or "-")
            wait = asked_wait(request.headers(b"prefer"), query) if waits else None
            message = from_json(kind, fields)
            if caller is not None:
                caller.check(needs, admission.user_of(message))
            answer = await answer_it(message, call(request, context.traceparent.get()))
            if not isinstance(answer, Answer):
                answer = Answer(answer)
            if answer.replayed:
                handling.outcome = "replayed"
            if handling.span is not None:
                handling.span.attributes |= spans.about(answer.response)
            if wait is not None and answer.later is not None:
                handling.later = partial(_later, answer, answer.later, wait, request, handling)
            return _render(answer, wait)

        def not_allowed(request: Request) -> Response:
            text = f"method {request.method} is not allowed; use {method}"
            return _error(request, Code.METHOD_NOT_ALLOWED, text, {"Allow": ", ".join(allows)})

        made = function(answer_it, label, Edge(allows, _refuse, not_allowed, begins=True), work)
        admission.prepare()
        return made

    return decorate


Query = Sequence[tuple[str, str]]


def _fields(
    kind: type[Message], method: str, query: Query, body: bytes, *, parameters: tuple[str, ...]
) -> dict[str, object]:
    """Return what a request says, from its JSON body or, for a GET, from its query.

    The `parameters` are what the query may say beside the fields.
    """
    if method != "GET":
        sent = _json_object(body)
        refuse_unknown(kind, sent)
        _refuse_query(kind, query, parameters)
        return sent
    sent = _json_object(body) if body.strip() else {}
    for name, text in query:
        field = kind.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            continue
        value, other = _from_query(field, text), sent.get(name)
        if other is not None and (other != value or type(other) is not type(value)):  # True == 1 == 1.0 in Python
            raise Malformed(
                Code.FIELD_TWICE, f"{name} differs between the query and the body, or is sent twice; send it once"
            )
        sent[name] = value
    return sent


def _refuse_query(kind: type[Message], query: Query, parameters: tuple[str, ...]) -> None:
    """Refuse fields of a POST that came in the query: not looked at, they would lose the promise without a word."""
    for name, _ in query:
        if name in parameters:
            continue
        letters = re.sub("[^a-z]", "", name.lower())
        if difflib.get_close_matches(letters, [*kind.DESCRIPTOR.fields_by_name, KEY_LETTERS], n=1, cutoff=0.8):
            raise Malformed(
                Code.FIELD_MISPLACED,
                f"{shown(name)} is in the query of a POST; send it in the body or header",
            )
        if near := difflib.get_close_matches(letters, parameters, n=1, cutoff=0.8):
            raise Malformed(Code.UNKNOWN_FIELD, f"{shown(name)} is not looked at; did you mean {near[0]}?")


def _json_object(body: bytes) -> dict[str, object]:
    try:
        value = _JSON.decode(body.decode(json.detect_encoding(body), "surrogatepass"))  # as json.loads does it
    except (ValueError, RecursionError) as error:
        raise Malformed(Code.MALFORMED_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Malformed(Code.MALFORMED_REQUEST, 'the body is JSON but not an object; send {"<field>": <value>}')
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(Code.FIELD_TWICE, f"{shown(twice)} is sent twice; send it once")
    return fields


def _no_such_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_JSON = json.JSONDecoder(parse_constant=_no_such_constant, object_pairs_hook=_object)


def _query(request: Request) -> Query:
    if not request.query:
        return []
    try:
        return parse_qsl(request.query.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise Malformed(
            Code.MALFORMED_REQUEST, "the query is not UTF-8; percent-encode the UTF-8 of each value"
        ) from error


_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,100}")  # far beyond int64; Python refuses to read thousands of digits


def _from_query(field: Any, text: str) -> object:
    if is_text(field):
        return text
    if not _WHOLE_NUMBER.fullmatch(text):
        raise Malformed(Code.WRONG_TYPE, f"{field.name} must be a whole number")
    return int(text)


async def _later(
    answer: Answer[A], later: Callable[[], Awaitable[A]], wait: Wait, request: Request, handling: Handling
) -> Response:
    response = await wait.for_(later, answer.response, request, since=handling.started)
    return _render(replace(answer, response=response), wait)


def _render(answer: Answer[A], wait: Wait | None) -> Response:
    headers = {"Idempotent-Replayed": "true"} if answer.replayed else {}
    if wait is not None and wait.preferred:
        headers["Preference-Applied"] = str(wait)
    if answer.text is not None:
        return in_text(answer.text, headers=headers)
    return in_json(to_json(answer.response), headers=headers)


def _refuse(request: Request, reason: Rejected | Unavailable | None) -> Response:
    if reason is None:
        return _error(
            request,
            Code.INTERNAL_ERROR,
            "internal error, and it was logged; check whether the request took effect before you send it again",
        )
    headers = {}
    if reason.code.retryable:  # without it a client must not repeat by itself: it would not help, or not be safe
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(reason, Unauthenticated | Forbidden):
        headers["WWW-Authenticate"] = admission.challenge(reason.code)
    return _error(request, reason.code, str(reason), headers)


def _error(request: Request, code: Code, message: str, headers: Mapping[str, str] | None = None) -> Response:
    if _wants_problem(request):
        return in_json(_problem(code, message), code.status, headers, b"application/problem+json")
    return in_json({"status": False, "message": message, "code": str(code)}, code.status, headers)


def _wants_problem(request: Request) -> bool:
    """Tell whether a client asks for RFC 9457 by name, and not for JSON rather.

    One that names both as much means JSON for what was done, and problems for what was not.
    """
    if b"accept" not in request.first:
        return False
    qualities = accepted(request)
    problem, usual = (qualities.get(f"application/{kind}", 0.0) for kind in ("problem+json", "json"))
    return 0.0 < problem >= usual


PROBLEMS = "/docs/errors.md"
"""Where a problem's type points: the list of codes, from the root of this project. It names the code for good, wherever
the document is served, if it is."""


def _problem(code: Code, message: str) -> Mapping[str, object]:
    return {
        "type": f"{PROBLEMS}#{code}",
        "title": code.meaning,
        "status": code.status,
        "detail": message,
        "code": str(code),
    }

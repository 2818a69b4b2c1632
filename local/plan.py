"""What runs where on this machine, and what each process is told: said by manifests, settings and ports alone.

Nothing is read, taken or written here, so a plan can be made, shown and compared without a machine.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from local.folder import LOGS
from local.manifests import Manifests, Ref, Service
from local.servers.mongodb import uri
from local.settings import Settings

_TOLD = frozenset({"KAFKA_BOOTSTRAP_SERVERS", "SINK_URL", "FUNCTION_URL"})
"""What tells an operator's tool where a cluster's Kafka, sinks and functions are; here a stack's folder does."""


@dataclass(frozen=True)
class Plan:
    """Where everything listens and keeps its data; `ports` are the fixed ones, by their variables."""

    settings: Settings
    manifests: Manifests
    ports: Mapping[str, int]
    function_ports: Mapping[str, int]
    env_overrides: Mapping[str, Mapping[str, str]]
    collector_port: int | None = None
    """Where functions send their spans, if they do."""

    @property
    def folder(self) -> Path:
        """Where data, logs and configurations are."""
        return self.settings.folder.absolute()

    def log_file(self, part: str) -> Path:
        """Where the output of a part goes, from the start of the stack on."""
        return self.folder / LOGS / f"{part}.log"

    @property
    def mongodb_uri(self) -> str:
        """The MongoDB of all functions."""
        return self.settings.mongodb_uri or uri(self.ports["MONGODB_PORT"])

    @property
    def kafka_bootstrap_servers(self) -> str:
        """The Kafka of sinks and sources."""
        return self.settings.kafka_bootstrap_servers or f"127.0.0.1:{self.ports['KAFKA_PORT']}"

    @property
    def url(self) -> str:
        """Where customers call: the ingress."""
        return f"http://127.0.0.1:{self.ports['PORT']}"

    def host_url(self, service: str) -> str:
        """Where the ingress serves a public Service by its own host name, on any path."""
        (namespace,) = (known.namespace for known in self.manifests.services if known.name == service)
        return f"http://{service}.{namespace}.localhost:{self.ports['PORT']}"

    def function_url(self, service: str) -> str:
        """Where ingress and sources call a Service, public or not."""
        return f"http://127.0.0.1:{self.function_ports[service]}"

    def sink_url(self, name: str) -> str:
        """Where functions send their events for a KafkaSink."""
        (namespace,) = (sink.namespace for sink in self.manifests.sinks if sink.name == name)
        return self.address(Ref("KafkaSink", namespace, name))

    def address(self, ref: Ref) -> str:
        """Return the URL of a Service, or that of a KafkaSink, which has its path from Knative."""
        if ref.kind == "Service":
            return self.function_url(ref.name)
        return f"http://127.0.0.1:{self.ports['SINK_PORT']}/{ref.namespace}/{ref.name}"

    def addresses(self) -> dict[str, Any]:
        """Return what other programs, such as `orders`, need in order to find the stack."""
        return {
            "url": self.url,
            "mongodb_uri": self.mongodb_uri,
            "kafka_bootstrap_servers": self.kafka_bootstrap_servers,
            "sinks": {sink.name: self.sink_url(sink.name) for sink in self.manifests.sinks},
            "functions": {service.name: self.function_url(service.name) for service in self.manifests.services},
        }

    def environment(self, service: Service) -> dict[str, str]:
        """Return what Knative gives the container of the Service's first revision; each Secret holds the one MongoDB.

        A SinkBinding without overrides adds K_SINK and an empty K_CE_OVERRIDES.
        """
        values = {name: value if isinstance(value, str) else self.mongodb_uri for name, value in service.env.items()}
        if not _TOLD.isdisjoint(values):
            values = {name: value for name, value in values.items() if name not in _TOLD}
            values |= {"LOCAL_DIR": str(self.folder), **self.settings.kafka_login}
            if self.zipkin_url is not None:
                values["TRACE_URL"] = f"{self.zipkin_url}/zipkin/traces/{{trace}}"
        bound = [self.address(each.sink) for each in self.manifests.bindings if each.subject.name == service.name]
        return {
            "HOST": "127.0.0.1",  # a container listens everywhere; a laptop should not
            "PORT": str(self.function_ports[service.name]),
            "K_SERVICE": service.name,
            "K_CONFIGURATION": service.name,
            "K_REVISION": f"{service.name}-00001",
            **values,
            **(self.settings.auth if self._is_routed(service) else {}),
            **self.settings.databases,
            **self._tracing(),
            **({"K_SINK": bound[-1], "K_CE_OVERRIDES": ""} if bound else {}),
            **self.env_overrides.get(service.name, {}),
        }

    def _is_routed(self, service: Service) -> bool:
        return any(route.service.name == service.name for route in self.manifests.routes)

    def _tracing(self) -> dict[str, str]:
        """Return what a function is told about spans: soon, for somebody looks at one order."""
        if self.collector_port is None:
            return {}
        endpoint = f"http://127.0.0.1:{self.collector_port}"
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "500"}

    @property
    def zipkin_url(self) -> str | None:
        """Where the traces are shown, if they are."""
        return f"http://127.0.0.1:{self.ports['ZIPKIN_PORT']}" if "ZIPKIN_PORT" in self.ports else None

    def otlp_to_zipkin(self) -> dict[str, Any]:
        """Return the configuration of `python -m local.stand_ins.otlp_to_zipkin`."""
        return {"host": "127.0.0.1", "port": self.collector_port, "zipkin_url": self.zipkin_url}

    def kafka_sink(self) -> dict[str, Any]:
        """Return the configuration of `python -m local.stand_ins.kafka_sink`."""
        return {
            "host": "127.0.0.1",
            "port": self.ports["SINK_PORT"],
            "bootstrap_servers": self.kafka_bootstrap_servers,
            "sinks": [asdict(sink) for sink in self.manifests.sinks],
            **({"tokens": str(tokens.absolute())} if (tokens := self.settings.sink_tokens) else {}),
        }

    def kafka_source(self) -> dict[str, Any]:
        """Return the configuration of `python -m local.stand_ins.kafka_source`: addresses in place of references."""
        sources = []
        for source in self.manifests.sources:
            fields = asdict(source)
            del fields["sink"], fields["delivery"]["dead_letter_sink"]
            fields["sink_url"] = self.address(source.sink)
            fields["delivery"]["dead_letter_sink_url"] = self.address(source.delivery.dead_letter_sink)
            fields["ce_overrides"] = {}
            sources.append(fields)
        return {"bootstrap_servers": self.kafka_bootstrap_servers, "sources": sources}

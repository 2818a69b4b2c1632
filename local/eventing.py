"""What the processes for KafkaSinks and KafkaSources are told: the manifests, with addresses for references."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from local.manifests import Manifests, Ref


@dataclass(frozen=True)
class Addresses:
    """Where the addressables of the manifests are on this machine."""

    function_ports: Mapping[str, int]
    sink_port: int

    def of(self, ref: Ref) -> str:
        """Return the URL of a Service, or that of a KafkaSink, which has its path from Knative."""
        if ref.kind == "Service":
            return f"http://127.0.0.1:{self.function_ports[ref.name]}"
        return f"http://127.0.0.1:{self.sink_port}/{ref.namespace}/{ref.name}"


def kafka_sink(manifests: Manifests, port: int, bootstrap_servers: str) -> dict[str, Any]:
    """Return the configuration of `python -m local.stand_ins.kafka_sink`."""
    return {
        "host": "127.0.0.1",
        "port": port,
        "bootstrap_servers": bootstrap_servers,
        "sinks": [asdict(sink) for sink in manifests.sinks],
    }


def kafka_source(manifests: Manifests, addresses: Addresses, bootstrap_servers: str) -> dict[str, Any]:
    """Return the configuration of `python -m local.stand_ins.kafka_source`."""
    sources = []
    for source in manifests.sources:
        fields = asdict(source)
        del fields["sink"], fields["delivery"]["dead_letter_sink"]
        fields["sink_url"] = addresses.of(source.sink)
        fields["delivery"]["dead_letter_sink_url"] = addresses.of(source.delivery.dead_letter_sink)
        fields["ce_overrides"] = {}
        sources.append(fields)
    return {"bootstrap_servers": bootstrap_servers, "sources": sources}

"""The one-machine Knative: it reads the manifests a cluster gets and starts what they say. Nothing here is deployed.

What stands for what:

    Knative Serving      servers/services.py, parts.py   one process for each Service, started again when it ends
    its ingress          servers/envoy.py                Envoy, which Kourier runs too; the HTTPRoute's gateway as well
    SinkBinding          plan.py                         K_SINK and K_CE_OVERRIDES in the environment; no token
    KafkaSink            stand_ins/kafka_sink.py         HTTP in, Kafka out, held to what the real receiver did
    KafkaSource          stand_ins/kafka_source.py       Kafka in, HTTP out, held to what the real dispatcher did
    PingSource           stand_ins/ping_source.py        a timer
    Kafka, KafkaTopic    servers/kafka.py                a real broker, and its topics
    MongoDB, Secrets     servers/mongodb.py              a real mongod, whose address every Secret holds

What this hides, so only a cluster can show it:

- There is one process per function, always: no scale to zero or out, no cold start, no activator that holds requests
  while a function starts (Envoy answers 503), no rollout, no second revision.
- There is no queue-proxy. Envoy applies `timeoutSeconds`; a source, which calls the function itself, applies only its
  own time-out. Nothing drains for 30 s before SIGTERM.
- There are no images, no limits of CPU and memory, no security context, no network policy, no TLS.
- There is no API server: nothing is defaulted, pruned or refused by a webhook. Instead, whatever is not implemented
  here is an error, and tests/knative holds the manifests to the schemas.
- There is no DNS: `K_SINK` and the `knativeerrordest` of dead letters carry 127.0.0.1 and a port; the name of Kafka's
  bootstrap server stands for the local one.
- All Services share one mongod and one Kafka broker, each without a second copy: no failover, no rollback.
- A source stopped in order leaves its group, so a restart goes on at once; the real one makes it wait up to 10 s.
  A 303 is not followed.
- A tick comes at the full minute, without Knative's random delay of up to 500 ms.
"""

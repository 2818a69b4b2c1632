"""The one-machine Knative: it reads the manifests a cluster gets and starts what they say. Nothing here is deployed."""

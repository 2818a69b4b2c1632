"""The `orders` command line: replay, redrive and verify, against the one-machine stack or a cluster."""

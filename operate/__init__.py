"""Look at a running shop, and act on it by events alone."""

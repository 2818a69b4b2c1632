"""Who calls, where a cluster demands tokens. Nothing here is imported before the first demand, `caller` apart."""

"""How an event goes out."""

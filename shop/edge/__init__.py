"""How a message comes in and its answer goes out: what the label of a function is made of."""

from shop.edge.call import Call
from shop.edge.events import consumer, tick
from shop.edge.http import Answer, get, post

__all__ = ["Answer", "Call", "consumer", "get", "post", "tick"]

"""Everything the functions share: the protocol that charges an order once, and its edges."""

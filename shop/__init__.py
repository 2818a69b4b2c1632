"""Everything the functions share: the protocol that charges an order once, and its edges."""

VERSION = "0.1.0"
"""What is released together: functions, command and stack."""

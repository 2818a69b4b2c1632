"""What keeps a verb from its work; the text is for whoever asked for it."""


class WrongUse(Exception):
    """What was asked for cannot be done; the text says what to give instead."""


class NotReachable(Exception):
    """MongoDB, Kafka, a sink or a function does not answer."""

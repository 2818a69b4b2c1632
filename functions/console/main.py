"""Show operators how orders get through, and why one hangs; push it again on their word.

Trigger   GET of a browser, and POST of its buttons; GET /metrics of Prometheus
Once per  form: each has an id, under which what was done is recorded
Emits     what was emitted before: PaymentRequested of an ordered basket, dead letters, the same as before
"""

from functions_framework import aio

from operate.console import served

console = aio.http(served("console"))

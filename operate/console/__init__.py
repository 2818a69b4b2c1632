"""The console: pages for the person on duty, from what the `orders` command looks at, and its verbs as buttons."""

from operate.console.app import served

__all__ = ["served"]

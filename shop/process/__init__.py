"""What one process has: its settings, read once at its start."""

"""campaign_ops: finds, explains and repairs stuck bulk-messaging campaigns."""

__version__ = "0.1.0"  # the only place that says it: pyproject.toml reads it from here

"""The command line: ``campaign-ops``. Works while Dagster is down; its commands call what every other face calls."""

from campaign_ops.faces.cli import sweeping, looking, fixes, setting_up, plugins  # noqa: F401, I001 - registers, in the help's order
from campaign_ops.faces.cli.app import app, main

__all__ = ["app", "main"]

"""The command line: `campaign-ops`. Works while Dagster is down; every command calls the sweep's own functions."""

from campaign_ops.faces.cli import sweeping  # isort: skip - the order of the help
from campaign_ops.faces.cli import looking, fixes, setting_up  # isort: skip
from campaign_ops.faces.cli.app import app, main

__all__ = ["app", "main"]

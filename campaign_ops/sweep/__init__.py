"""Observe, decide, act, report: what every face and every Dagster asset calls."""

from campaign_ops.sweep.report import dry_run
from campaign_ops.sweep.sweep import Sweep

__all__ = ["Sweep", "dry_run"]

"""A shop's own Dagster project, which takes campaign_ops in."""

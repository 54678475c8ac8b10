"""What the shop's Dagster runs: its own definitions, and a directory for each component."""

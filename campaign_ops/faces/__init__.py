"""What people and machines speak to: the command line and all that is served over HTTP. Never imports Dagster."""

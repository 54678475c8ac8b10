"""The words and the decisions. Standard library only: no SQL, no Redis, no Dagster, no clock."""

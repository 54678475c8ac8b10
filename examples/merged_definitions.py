"""A project that takes campaign_ops in without components: `dagster dev -f examples/merged_definitions.py`.

The definitions of campaign_ops bring no executor, no logger and no resource for the rest of the project, and every
name of theirs begins with `campaign_ops`, every asset key too.
"""

import dagster as dg

from campaign_ops.orchestration import definitions


@dg.op
def delete_old_runs() -> None:
    """Delete what this project no longer needs."""


@dg.job
def housekeeping() -> None:
    """This project's own housekeeping."""
    delete_old_runs()


defs = dg.Definitions.merge(
    dg.Definitions(jobs=[housekeeping], executor=dg.multiprocess_executor),
    definitions(),  # of the file that CAMPAIGN_OPS_CONFIG names; or definitions("campaign_ops.yaml", prefix="ops")
)

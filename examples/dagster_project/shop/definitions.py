"""The code location: everything in `defs/`, with the shop's executor."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """The shop's definitions and those of campaign_ops."""
    folder = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(folder, dg.Definitions(executor=dg.multiprocess_executor))

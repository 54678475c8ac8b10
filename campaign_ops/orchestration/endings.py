"""How a run ends: refused, or failed with one line.

A refusal is an answer, not a failure: the run succeeds, and a tag, which the list of runs shows, says `refused`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.events import AssetObservationData
from dagster_shared.error import SerializableErrorInfo

from campaign_ops.core.errors import CampaignOpsError, Refused, SweepBusy
from campaign_ops.watch.dagster import OUTCOME_TAG, REFUSED

REFUSALS = (Refused, SweepBusy)
"""The errors that end a run as refused: nothing was changed, and a person decides what is next."""


class OneLineFailure(DagsterUserCodeProcessError, dg.Failure):
    """A failure of which Dagster keeps the message alone.

    It stores the stack of any other failure twice, with the step and with the run: the one line that says what is
    wrong stood above 40 lines of Dagster's own frames.
    """

    def __init__(self, message: str) -> None:
        info = SerializableErrorInfo(message, [], None)
        super().__init__(message, user_code_process_error_infos=[info])  # type: ignore[no-untyped-call]


def refusals_of(result: dg.ExecuteInProcessResult) -> list[str]:
    """The refusals of the steps of a sweep, each in its one line: Dagster calls such a run a success."""
    observations = (
        event.event_specific_data.asset_observation
        for event in result.all_events
        if isinstance(event.event_specific_data, AssetObservationData)
    )
    refusal = dg.MetadataValue.text(REFUSED)
    return [seen.description or "" for seen in observations if seen.metadata.get("outcome") == refusal]


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """Our errors fail the step with their one line; refusals pass.

    Raises:
        OneLineFailure: For any error of `campaign_ops.core.errors` except ``REFUSALS``.
    """
    try:
        yield
    except REFUSALS:
        raise
    except CampaignOpsError as error:
        raise OneLineFailure(str(error)) from None


def tag_outcome(context: dg.OpExecutionContext | dg.AssetExecutionContext, outcome: str) -> None:
    """Tag the run with its outcome."""
    context.instance.add_run_tags(context.run.run_id, {OUTCOME_TAG: outcome})


def forget_outcome(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> None:
    """Overwrite the outcome that Dagster has copied from the run of which this one is a repetition."""
    if OUTCOME_TAG in context.run.tags:
        tag_outcome(context, "executed again")


def refused(context: dg.OpExecutionContext | dg.AssetExecutionContext, refusal: CampaignOpsError) -> dict[str, str]:
    """End the run as refused: its tag, a warning in its log, and the metadata that says why and what to do next."""
    context.log.warning("refused: %s", refusal)
    tag_outcome(context, REFUSED)
    where = f"{refusal.where}: " if refusal.where else ""
    next_step = refusal.mend or "none: nothing was changed"
    return {"outcome": REFUSED, "why": where + refusal.what, "next_step": next_step}

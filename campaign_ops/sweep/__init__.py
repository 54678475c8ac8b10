"""One sweep over one platform: observe, decide, act, re-enqueue, report. Faces and Dagster assets call nothing below.

The modules, in the order of a sweep:

    sweep       the whole sweep: all steps in one call, from one look
    quiet       the whole sweep where nothing is to be done, in the lock's own transaction
    steps       the same steps one by one, as Dagster assets call them
    seen        the look that they share where one process makes all of them

    look        observe: one look at the platform, in the order that makes it safe
    evidence    its half from the database: stuck campaigns, recipients by state
    coverage    its half from the queue: recipients in live jobs, batches of those in none
    suspects    recipients that the provider may have
    credits     held reservations, and which of them are held for nothing

    plan        decide: the plan that a look gives; the decisions themselves are in `core`
    confirm     what a person's code lets pass the breaker
    orders      what a repairing step may do: the plan or its own look, whichever is less

    act         act: complete, recount and release, page by page
    complete    one page of each; completing first makes sure that no work is left:
    live_work   … in the queue
    writers     … in open transactions
    recount
    release
    guarded     the write that they share: its premise is repeated, what really changed is journaled

    settle      re-enqueue: first the jobs that an earlier sweep intended and did not confirm,
    reenqueue   then the campaigns that get jobs, within the limits,
    intents     the intents, journaled before any effect,
    add_page    and the jobs

    result      what a repairing step really changed
    rows        values of the model as rows of the history tables
    records     the rows and figures of each step
    report      report: the dry run and the health report
    tidy        what is deleted afterwards
    awake       the clock by which looks grow old
    progress    what is being done, for a person who waits
"""

from typing import TYPE_CHECKING, Any

__all__ = ["Sweep", "dry_run"]

if TYPE_CHECKING:
    from campaign_ops.sweep.report import dry_run
    from campaign_ops.sweep.sweep import Sweep
else:
    # Imported when they are named: a command that only looks needs neither repairs nor what they import.
    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from campaign_ops.sweep import report, sweep  # noqa: PLC0415

        return report.dry_run if name == "dry_run" else sweep.Sweep

"""``report``: the health report that the latest sweep stored."""

from __future__ import annotations

from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import clean_lines
from campaign_ops.faces.documents import report_document
from campaign_ops.queries.report import stored_report


@command(
    shape=shapes.ReportResult,
    examples=["report --platform sms", "report --platform sms > health.md"],
)
def report(call: Call) -> Answer:
    """Print the latest sweep's health report as Markdown.

    Prints what that sweep stored, whatever started it; does not look at the platform again.
    """
    stored = stored_report(call.platform)
    return Answer(report_document(stored), [clean_lines(stored.markdown).rstrip("\n")])

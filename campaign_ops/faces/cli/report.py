"""``report``: the health report that the latest sweep stored."""

from __future__ import annotations

from campaign_ops.faces.cli import shapes
from campaign_ops.faces.cli.app import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import clean_lines
from campaign_ops.queries.report import stored_report


@command(shape=shapes.ReportResult, examples=["report --platform sms", "report --platform sms > health.md"])
def report(call: Call) -> Answer:
    """Print the latest sweep's health report as Markdown.

    Prints what that sweep stored, whatever started it; does not look at the platform again.
    """
    stored = stored_report(call.platform)
    result: shapes.ReportResult = {
        "at": stored.at.isoformat(),
        "figures": dict(stored.figures),
        "trouble": stored.trouble,
        "markdown": stored.markdown,
    }
    return Answer(result, [clean_lines(stored.markdown).rstrip("\n")])

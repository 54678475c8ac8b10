"""``doctor``: examines a platform and says what to mend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import RenderableType

from campaign_ops.core.wording import plural
from campaign_ops.doctor import Finding, Level, examine
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, line

_EXITS = {Level.WARNING: ExitCode.PERSON, Level.ERROR: ExitCode.FAILED}
_NOT_OK = (Level.NOTE, Level.WARNING, Level.ERROR)
_STYLES = {Level.WARNING: "yellow", Level.ERROR: "bold red"}


@command(several=True, shape=shapes.DoctorResult, examples=["doctor", "doctor --platform sms --json"])
def doctor(call: Call) -> Answer:
    """Check that a platform is ready to be swept.

    Examines database, rights, profile, indexes, schema and queue, and says how to mend each problem. Reads only. Exits
    with 1 when a sweep would fail, with 5 when it would work, perhaps after `migrate`, but something needs attention.
    """
    findings = examine(call.platform)
    level = max((finding.level for finding in findings), key=list(Level).index, default=Level.OK)
    result: shapes.DoctorResult = {
        "level": level.value,
        "findings": [
            {"check": finding.check, "level": finding.level.value, "what": finding.what, "mend": finding.mend}
            for finding in findings
        ],
    }
    return Answer(result, report_of(call.name, findings), _EXITS.get(level, ExitCode.DONE))


def report_of(name: str, findings: Sequence[Finding]) -> list[RenderableType]:
    """The findings of one platform, for a person."""
    level = max((finding.level for finding in findings), key=list(Level).index, default=Level.OK)
    numbers = Counter(finding.level for finding in findings)
    counts = [f"{numbers[Level.OK]} ok", *(plural(numbers[other], other) for other in _NOT_OK if numbers[other])]
    rows: list[list[object]] = []
    for finding in findings:
        rows.append([finding.level, finding.check, finding.what])
        if finding.mend:
            rows.append(["", "", f"mend: {finding.mend}"])
    title = line(f"{name}: {', '.join(counts)}", style=_STYLES.get(level, "bold"))
    return [title, Rows(["", "", ""], rows)]

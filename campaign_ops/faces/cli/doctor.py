"""``doctor``: examines a platform and says what to mend."""

from __future__ import annotations

from collections import Counter

from campaign_ops.core.wording import plural
from campaign_ops.doctor import Level, examine
from campaign_ops.faces.cli import shapes
from campaign_ops.faces.cli.app import command
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, line

_EXITS = {Level.WARNING: ExitCode.PERSON, Level.ERROR: ExitCode.FAILED}
_WORTH_SAYING = (Level.NOTE, Level.WARNING, Level.ERROR)
_STYLES = {Level.WARNING: "yellow", Level.ERROR: "bold red"}


@command(several=True, shape=shapes.DoctorResult, examples=["doctor", "doctor --platform sms --json"])
def doctor(call: Call) -> Answer:
    """Examine a platform before anything touches it.

    Looks at database, rights, profile, indexes, schema and queue, and says what mends them. Reads only. Exits with 1
    when a sweep would fail, with 5 when it would work but something should be seen to.
    """
    findings = examine(call.platform)
    grave = max((one.level for one in findings), key=list(Level).index, default=Level.OK)
    result: shapes.DoctorResult = {
        "level": grave.value,
        "findings": [
            {"check": one.check, "level": one.level.value, "what": one.what, "mend": one.mend} for one in findings
        ],
    }
    levels = Counter(one.level for one in findings)
    counts = [f"{levels[Level.OK]} ok", *(plural(levels[one], one) for one in _WORTH_SAYING if levels[one])]
    rows: list[list[object]] = []
    for one in findings:
        rows.append([one.level, one.check, one.what])
        if one.mend:
            rows.append(["", "", f"mend: {one.mend}"])
    title = line(f"{call.name}: {', '.join(counts)}", style=_STYLES.get(grave, "bold"))
    return Answer(result, [title, Rows(["", "", ""], rows)], _EXITS.get(grave, ExitCode.DONE))

"""A whole sweep of a platform on which nothing is to be done, as on most: in the transaction that holds the lock.

One statement asks for every reason to do more. Where there is one, `sweep` begins from the beginning: nothing that was
read here is used again. Nothing here repairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.report import HealthReport
from campaign_ops.core.sighting import Sighting
from campaign_ops.journal import binding, migrations
from campaign_ops.journal.counters import count_sweep
from campaign_ops.journal.question import Question
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import SweepLock, at_once
from campaign_ops.sweep.credits import TENANTS, lines_of
from campaign_ops.sweep.look import Observation
from campaign_ops.sweep.plan import plan_from, read_queue_state
from campaign_ops.sweep.progress import doing
from campaign_ops.sweep.records import STEP_OF, figures_of, health_record
from campaign_ops.sweep.report import report_from
from campaign_ops.sweep.result import StepResult
from campaign_ops.sweep.seen import seen_by


def quiet_sweep(
    platform: Platform, lock: SweepLock, run_id: str, trigger: str, actor: str
) -> tuple[HealthReport, Author] | None:
    """Sweep, and record that nothing was to be done; None, and nothing is written, where something may be.

    That is so, too, where anything is unusual: another revision of our schema, another binding, an unreadable queue.
    """
    connection = lock.connection
    doing(platform.name, "looking for stuck campaigns")
    platform.check_writable(connection)
    answers = _ask(platform, connection, run_id)
    if answers.is_work or answers.revision != migrations.HEAD:
        return None
    doing(platform.name, "reading the queue")
    queue = read_queue_state(platform)
    if queue is not None and queue.problem:
        return None
    observation = Observation(answers.at, answers.sending, (), queue)
    last = {document["queue"]: _sighting(document) for document in answers.sightings or ()}
    plan, sightings = plan_from(observation, platform.policy, last, answers.beside)
    seen = seen_by(observation, plan)
    records = [*seen.records]
    figures = {record.step: record.figures for record in records}
    figures |= {step: figures_of(StepResult(kind)) for kind, step in STEP_OF.items()}
    credit_lines, held = lines_of(plan, [], answers.held) if answers.held is not None else ([], None)
    report = report_from(
        platform,
        plan,
        figures,
        repairs={},
        accepted=0,
        at=observation.at,
        queue_rows=seen.queue.rows,
        credits=credit_lines,
        credits_held=held,
        repairs_of_the_day={row["kind"]: row["number"] for row in answers.repairs},
        before=answers.before[0]["figures"] if answers.before else {},
    )
    records.append(health_record(report))
    figures[records[-1].step] = records[-1].figures
    doing(platform.name, "writing the report")
    claim = platform.claim(platform.tables(connection).catalog)
    author = platform.sweeps.begin(connection, run_id, trigger, actor, premise=binding.holds(claim), figures=figures)
    if author is None:
        return None
    with at_once(connection):
        for record in records:
            platform.sweeps.add_history(connection, record.table, author, record.at, record.rows, is_new=True)
            if record.queues:
                platform.queue_looks.note(connection, record.queues)
        if platform.sightings is not None:
            platform.sightings.note(connection, sightings, observation.at)
        count_sweep(connection, platform.sweeps.tables, report.outcome)
    return report, author


def _ask(platform: Platform, connection: sa.Connection, run_id: str) -> sa.Row[Any]:
    question = Question(
        platform.sweeps,
        platform.journal,
        platform.attempts,
        platform.ambiguous,
        platform.sightings,
        platform.policy,
        TENANTS,
    )
    return question.ask(connection, platform.tables(connection), run_id)


def _sighting(document: Mapping[str, Any]) -> Sighting:
    """A sighting from a row of `SightingLog.known` as a document."""
    values = {name: value for name, value in document.items() if name != "queue"}
    return Sighting(**{**values, "server_since": datetime.fromisoformat(values["server_since"])})

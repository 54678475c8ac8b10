"""The two decisions about recipients that the provider may already have. Only a person makes them.

Send again, although they may get the message twice; or take them as sent, although they may have got nothing.
"""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from campaign_ops.bullmq.queue import Queue
from campaign_ops.core.errors import CampaignOpsError, PermissionMissing, Refused
from campaign_ops.core.model import Action, RepairKind, Suspect, Verdict
from campaign_ops.core.next_steps import step_of
from campaign_ops.core.verdicts import decide, unclear
from campaign_ops.core.wording import plural
from campaign_ops.fixes.fix import Fix, Person, author_of, check_confirmed, half_made, locked, set_word
from campaign_ops.fixes.reenqueue import reenqueue_locked
from campaign_ops.fixes.target import check_queue_answers, find_campaign
from campaign_ops.journal.journal import Entry
from campaign_ops.platform import Platform
from campaign_ops.postgres import recipients
from campaign_ops.sweep.look import Observation, looking

AT_ONCE = 10_000
"""The most recipients of one decision; call again for more."""
_MORE = "; more are ambiguous, and stay so: make it again for them"


def send_again(
    platform: Platform, campaign_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Delete the markers of a campaign's ambiguous recipients, and put them back into the queue.

    Raises:
        NotFound: No such campaign, or another tenant's.
        Refused: It is not sending, or no recipient is marked.
    """
    campaign = find_campaign(platform, campaign_id, tenant)
    campaign_id = campaign.id
    queue = _queue(platform, campaign_id)
    with locked(platform) as lock:
        marked, more, seen = _marked(platform, campaign_id)
        others = _check_would_reenqueue(platform, campaign_id, seen)
        many = plural(len(marked), "recipient")
        ids = [suspect.recipient_id for suspect in marked]
        covers: dict[str, int | str | list[str]] = {"recipients": ids, "others": others}
        if dry_run:
            also = f", and re-enqueue {others} others" if others else ""
            return Fix(
                campaign_id, False, f"would send again to {many}, who may get it twice{also}{more}", covers=covers
            )
        check_confirmed(person, covers, f"campaign {campaign_id}")

        def _intend(connection: sa.Connection) -> int:
            if ours := platform.journal.made(connection, person.run_id, RepairKind.SEND_AGAIN, campaign_id):
                return ours[-1]  # the answer to the first commit was lost
            author = author_of(platform, connection, person)
            entry = Entry(RepairKind.SEND_AGAIN, campaign_id, campaign_id, campaign.tenant, f"{many} perhaps sent")
            platform.ambiguous.decide(connection, marked)
            return platform.journal.record(connection, author, [entry])[0]

        repair_id = platform.database.run(_intend)
        with half_made(f"the decision about {many} of campaign {campaign_id} is journaled, but their markers remain"):
            keys = queue.forget_marks(ids)
        after = {"ids": ids, "markers_deleted": keys}
        try:  # the decision is committed and the markers are gone: no error may say that nothing was changed
            platform.database.run(lambda connection: platform.journal.set_after(connection, repair_id, after))
            fix = reenqueue_locked(platform, lock, campaign, replace(person, confirmed={}))
        except CampaignOpsError as error:
            decided = f"sweeps may send again to {many} of campaign {campaign_id}; this fix could not: {error}{more}"
            return Fix(campaign_id, True, decided, (repair_id,))
    return Fix(campaign_id, True, fix.message + more, (repair_id, *fix.repair_ids))


def _check_would_reenqueue(platform: Platform, campaign_id: str, seen: Observation) -> int:
    """Refuse now what would be refused once the markers are gone: they are the only evidence.

    Returns:
        The number of unmarked recipients that would be re-enqueued with the marked ones.
    """
    evidence = seen.evidence[0]
    assert evidence.coverage is not None
    missing = evidence.coverage.missing + evidence.coverage.marked
    coverage = replace(evidence.coverage, missing=missing, marked=0, in_completed_jobs=0)
    decision = decide(replace(evidence, coverage=coverage), seen.queue, platform.policy, seen.at)
    if decision.action is not Action.REENQUEUE:
        raise Refused(f"{decision.verdict}: {decision.reason}", where=f"campaign {campaign_id}")
    return evidence.coverage.missing


def take_as_sent(
    platform: Platform, campaign_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Set a campaign's ambiguous recipients to sent.

    Raises:
        NotFound: No such campaign, or another tenant's.
        Refused: It is not sending, or no recipient is marked.
        PermissionMissing: The role may not update recipients, which sweeps never do.
    """
    campaign = find_campaign(platform, campaign_id, tenant)
    campaign_id = campaign.id
    _queue(platform, campaign_id)
    with locked(platform):
        marked, more, _ = _marked(platform, campaign_id)
        ids = [suspect.recipient_id for suspect in marked]
        if dry_run:
            count = plural(len(marked), "recipient")
            message = f"would call {count} sent, who may have got nothing{more}"
            return Fix(campaign_id, False, message, covers={"recipients": ids})
        check_confirmed(person, {"recipients": ids}, f"campaign {campaign_id}")

        def _write(connection: sa.Connection) -> tuple[int, int]:
            _check_rights(platform, connection)
            author = author_of(platform, connection, person)
            tables = platform.tables(connection)
            before = {row.id: row.status for row in connection.execute(recipients.lock_waiting(tables), {"ids": ids})}
            sent = platform.profile.recipient.words.sent
            written = set_word(connection, recipients.take_as_sent(tables), {"ids": list(before)}, sent)
            if not written:
                if ours := platform.journal.made(connection, person.run_id, RepairKind.TAKE_AS_SENT, campaign_id):
                    taken = platform.journal.repair(connection, ours[-1]) or {}
                    return ours[-1], len(taken["after"]["ids"])  # the answer to the first commit was lost
                raise Refused("they changed while we looked; nothing was done", where=f"campaign {campaign_id}")
            why = f"{plural(len(written), 'recipient')} marked as perhaps sent"
            words = {word: [key for key in written if before[key] == word] for word in {*before.values()}}
            entry = Entry(
                RepairKind.TAKE_AS_SENT,
                campaign_id,
                campaign_id,
                campaign.tenant,
                why,
                before={"ids_by_status": words},
                after={"status": sent, "ids": written},
            )
            platform.ambiguous.forget(connection, written)
            return platform.journal.record(connection, author, [entry])[0], len(written)

        repair_id, written = platform.database.run(_write)
    message = f"{plural(written, 'recipient')} of campaign {campaign_id} now count as sent{more}"
    return Fix(campaign_id, True, message, (repair_id,))


def _queue(platform: Platform, campaign_id: str) -> Queue:
    if platform.queue is None:
        raise Refused("this platform has no queue", where=f"campaign {campaign_id}")
    return platform.queue


def _marked(platform: Platform, campaign_id: str) -> tuple[list[Suspect], str, Observation]:
    """Return pending recipients in no live job that the provider may have, in words if there are more, and the look."""
    with looking(platform, only=[campaign_id], any_age=True) as look:
        check_queue_answers(look.observation, f"campaign {campaign_id}")
        queue = look.observation.queue
        if queue is not None and queue.problem:
            raise Refused(queue.problem, where=f"campaign {campaign_id}", mend="repair the queue first")
        for evidence in look.observation.evidence:
            if evidence.coverage and evidence.coverage.unclear_jobs:
                raise Refused(
                    unclear(evidence.coverage.unclear_jobs),
                    where=f"campaign {campaign_id}",
                    mend=step_of(Verdict.UNCLEAR_JOBS, platform.name),
                )
        marked = look.marked(AT_ONCE + 1)
    if not marked:
        raise Refused("no recipient of it is marked as perhaps sent", where=f"campaign {campaign_id}")
    return marked[:AT_ONCE], _MORE if len(marked) > AT_ONCE else "", look.observation


def _check_rights(platform: Platform, connection: sa.Connection) -> None:
    profile = platform.profile
    column = platform.tables(connection).catalog.column(profile.recipient.table, profile.recipient.status)
    if not column.may_update:
        raise PermissionMissing(
            f'this role may not update "{column.table}"."{column.name}"; nothing was changed',
            where=platform.database.where,
            mend=f'GRANT UPDATE ("{column.name}") ON "{profile.db_schema}"."{column.table}" TO it; no sweep needs it',
        )

"""The workload: what the application and its users do to campaigns, their recipients, jobs and credits.

Each change of a campaign's status repeats the premise in the write, as a correct application does. A paused campaign's
jobs are removed from the queue, and it is resumed only when none of them is left, so the application itself never puts
a recipient into two jobs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from campaign_ops.core.wording import plural
from campaign_ops.lab.drill.environment.environment import BESIDE
from campaign_ops.lab.drill.queue_watcher import UNCLEAR_KEY
from campaign_ops.lab.drill.worlds import CRON_JOB, EXPORT_JOB, REPORT_JOB, SECOND_JOB, SYNC_JOB
from campaign_ops.lab.shop.provider import share_of
from campaign_ops.lab.shop.queues import TENANTS
from campaign_ops.lab.shop.row_reader import Row
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.lab.shop.worker import RETRY

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig

BATCH_SIZE = 20
PAUSED, CANCELLED = "paused", "cancelled"
_ORDINARY = re.compile(r"cmp_\d+")
_NOW = timedelta(0)
_SOON = timedelta(seconds=6)
_TWO_RESERVATIONS, _EXPIRE_SOON = 0.3, 0.3
_IMPORTED = 5
_RETRY_MS = 4_000
_LATER_MS = 3_000
"""So long that a campaign is stuck while only such a job covers it."""
_UNTOUCHED = timedelta(seconds=2)
_CRON_CAMPAIGNS = 6
UNTOUCHABLE = ("unsendable", "poison_campaign", "unknown_word")
"""Campaigns of these faults stay as they are: a figure waits for how they end."""


class Workload:
    """Actions of the application and its users. Stateless: any number of instances are equivalent."""

    tenants = TENANTS

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.sending = rig.profile.campaign.words.sending

    def label(self, fault: str, rng: random.Random) -> str:
        """A new campaign id for a fault. Users act only on ordinary campaigns, whose ids differ."""
        return f"{fault}_{rng.randrange(1_000_000):06d}"

    def is_full(self) -> bool:
        """Return whether the size's limit of sending campaigns is reached."""
        return len(self._ordinary(self.sending)) >= self._rig.options.scale.max_sending

    def write(self, label: str, size: int, tenant: str) -> None:
        """Write a campaign's rows with recipients and reservations, unless a fault that is tried again has."""
        writer = self._rig.writer
        if writer.exists(label):
            return
        writer.add_campaign(label, tenant=tenant, updated_ago=_NOW, pending=size)
        self._reserve(label, size, tenant)

    def _reserve(self, label: str, size: int, tenant: str) -> None:
        """Hold credits for a campaign: some campaigns have two reservations, and some of those expire in seconds."""
        halves = (size // 2, size - size // 2) if share_of(f"two {label}") < _TWO_RESERVATIONS else (size,)
        expires_in = _SOON if share_of(f"soon {label}") < _EXPIRE_SOON else minutes(60)
        existing = len(self._rig.writer.reservations(label))
        for number, amount in enumerate(halves, existing + 1):
            name = f"res_{label}" if number == 1 else f"res_{label}_{number}"
            self._rig.writer.add_reservation(
                name, campaign=label, amount=amount, created_ago=_NOW, expires_in=expires_in, tenant=tenant
            )

    def start(
        self, label: str, size: int, tenant: str, job_options: Mapping[str, Any] | None = None, *, enqueued: float = 1
    ) -> list[str]:
        """Write a campaign's rows and add its jobs. Returns the ids of the jobs; none that it has already.

        With a share ``enqueued`` below 1, the application dies when it has enqueued that share of the recipients.
        """
        self.write(label, size, tenant)
        return self._enqueue(label, job_options or {}, enqueued)

    def cancel(self, which: float, *, frees_credits: bool) -> str | None:
        """Cancel a sending or paused campaign; without ``frees_credits`` the application leaks its credits."""
        words = (self.sending, PAUSED)
        campaign = _select([row for word in words for row in self._ordinary(word)], which)
        return None if campaign is None else self.cancel_one(campaign["name"], frees_credits=frees_credits)

    def cancel_one(self, label: str, *, frees_credits: bool) -> str | None:
        """Cancel one campaign, if it is sending or paused."""
        rig = self._rig
        if not self._change(label, (self.sending, PAUSED), CANCELLED):
            return None
        self._remove_jobs(label)
        if not frees_credits:
            return f"person: cancelled {label}; the application did not release its credits"
        names = rig.profile.reservation
        assert names is not None
        for row in rig.writer.reservations(label):
            if row["status"] == names.words.held:
                rig.writer.set_reservation(row["id"], status=names.words.released, released_at=_NOW)
        return f"person: cancelled {label}"

    def pause(self, which: float) -> str | None:
        """Pause a sending campaign and remove its jobs from the queue."""
        campaign = _select(self._ordinary(self.sending), which)
        return None if campaign is None else self.pause_one(campaign["name"])

    def pause_one(self, label: str) -> str | None:
        """Pause one campaign, if it is sending."""
        if not self._change(label, (self.sending,), PAUSED):
            return None
        self._remove_jobs(label)
        return f"person: paused {label}"

    def enqueue_missing(self, label: str) -> list[str]:
        """Enqueue a campaign's pending recipients that are in no live job. Returns the ids of the jobs."""
        return self._enqueue(label, {})

    def resume(self, which: float) -> str | None:
        """Resume a paused campaign of which no job is left; its pending recipients get new jobs."""
        ready = [row for row in self._ordinary(PAUSED) if not self._remove_jobs(row["id"])]
        campaign = _select(ready, which)
        if campaign is None or not self._change(campaign["id"], (PAUSED,), self.sending):
            return None
        jobs = self._enqueue(campaign["id"], {})
        return f"person: resumed {campaign['name']}, {plural(len(jobs), 'job')}"

    def import_more(self, which: float) -> str | None:
        """Import more recipients into a sending campaign."""
        campaign = _select(self._ordinary(self.sending), which)
        if campaign is None or not self.extend(campaign["name"], _IMPORTED):
            return None
        return f"person: imported {_IMPORTED} recipients into {campaign['name']}"

    def reopen(self, which: float) -> str | None:
        """Send a campaign that is over to more recipients."""
        words = self._rig.profile.campaign.words.all_over
        campaign = _select([row for word in words for row in self._ordinary(word)], which)
        return None if campaign is None else self.reopen_one(campaign["name"])

    def reopen_one(self, label: str) -> str | None:
        """Send one campaign that is over to more recipients, if it is over."""
        rig = self._rig
        if not self._change(label, tuple(rig.profile.campaign.words.all_over), self.sending):
            return None
        rig.writer.add_recipients(label, pending=_IMPORTED)
        self._reserve(label, _IMPORTED, rig.writer.campaign(label)["tenant"])
        jobs = self._enqueue(label, {})
        return f"person: reopened {label}, {plural(len(jobs), 'job')}"

    def retry(self, which: float) -> str | None:
        """Try failed recipients of a campaign again in a moment; until then a job lists recipients that have failed."""
        candidates = [row for row in self._ordinary(self.sending) if self._rig.writer.failed_ids(row["id"])]
        campaign = _select(candidates, which)
        return None if campaign is None else self.retry_one(campaign["name"])

    def retry_one(self, label: str) -> str | None:
        """Try failed recipients of one campaign again, unless a live job does so already."""
        rig = self._rig
        failed = [one for one in rig.writer.failed_ids(label) if one not in rig.live_recipients()]
        if not failed:
            return None
        tenant = rig.writer.campaign(label)["tenant"]
        rig.queue.add(rig.writer.id(label), tenant, failed, batch_size=BATCH_SIZE, more={RETRY: True}, delay=_RETRY_MS)
        return f"application: tries {len(failed)} failed recipients of {label} again"

    def run_cron(self, _which: float) -> str | None:
        """Put pending recipients of untouched campaigns into new jobs, as the application's own cron does.

        Its rule is a simple one: it does not see jobs with a priority, nor those that a worker holds.
        """
        rig, old = self._rig, datetime.now(UTC) - _UNTOUCHED
        untouched = [row for row in rig.writer.campaigns(self.sending) if row["updated_at"] < old]
        covered = rig.live_recipients("wait", "delayed")
        jobs: list[str] = []
        for campaign in [row for row in untouched if not row["name"].startswith(UNTOUCHABLE)][:_CRON_CAMPAIGNS]:
            pending = [one for one in rig.writer.pending_ids(campaign["id"]) if one not in covered]
            jobs += rig.queue.add(campaign["id"], campaign["tenant"], pending, job=CRON_JOB, delay=_LATER_MS)
        return f"application: its cron added {plural(len(jobs), 'job')}" if jobs else None

    def add_other_job(self, which: float) -> str | None:
        """Add one of the application's other jobs, about a sending campaign."""
        rig = self._rig
        name = (SECOND_JOB, REPORT_JOB, EXPORT_JOB, SYNC_JOB)[int(which * 997) % 4]
        sending = [row for row in rig.writer.campaigns(self.sending) if not row["name"].startswith(UNTOUCHABLE)]
        if name == EXPORT_JOB:  # a person wants to know which recipients nothing happens to
            covered = rig.live_recipients()
            idle = [row for row in sending if not covered.issuperset(rig.writer.pending_ids(row["id"]))]
            sending = idle or sending
        campaign = _select(sending, which)
        if campaign is None:
            return None
        own = rig.queue.payload(campaign["id"], campaign["tenant"], rig.writer.pending_ids(campaign["id"])[:BATCH_SIZE])
        profile = rig.profile.queue
        assert profile is not None
        mentioned, recipients = own[profile.campaign_key], own[profile.recipients_key]
        if name == SECOND_JOB:
            covered = rig.live_recipients()
            pending = [one for one in rig.writer.pending_ids(campaign["id"]) if one not in covered][:BATCH_SIZE]
            rig.queue.add(campaign["id"], campaign["tenant"], pending, job=name, delay=_LATER_MS)
        else:
            data = {
                REPORT_JOB: {profile.campaign_key: mentioned, "format": "pdf"},
                EXPORT_JOB: {UNCLEAR_KEY: mentioned, "recipients": recipients},
                SYNC_JOB: {"contacts": recipients},
            }[name]
            rig.queue.add_other(name, data, delay=_LATER_MS)
        return f"application: adds a job {name} about {campaign['name']}"

    def start_beside(self, which: float) -> str | None:
        """Let the application of the second platform start a campaign."""
        beside = self._rig.beside
        return None if beside is None else f"application beside: {beside.application.start(which)}"

    def kill_sweeper_beside(self, which: float) -> str | None:
        """Let the sweeper of the second platform die at a statement; it is started again."""
        statement = 1 + int(which * 80)
        self._rig.start_sweeper(BESIDE, die_after_statements=statement)
        return f"the sweeper of the second platform will be killed (kill -9) at statement {statement}"

    def move(self, which: float) -> str | None:
        """Move recipients of a paused campaign of which no job is left to a sending one, which gets jobs for them."""
        ready = [row for row in self._ordinary(PAUSED) if not self._remove_jobs(row["id"])]
        source, target = _select(ready, which), _select(self._ordinary(self.sending), which)
        if source is None or target is None or not self._change(target["id"], (self.sending,), self.sending):
            return None
        pending = self._rig.writer.pending_ids(source["id"])[:BATCH_SIZE]
        moved = self._rig.writer.hand_over(pending, target["id"])
        if moved:
            self._rig.queue.add(target["id"], target["tenant"], moved, batch_size=BATCH_SIZE)
        return f"person: moved {plural(len(moved), 'recipient')} from {source['name']} to {target['name']}"

    def extend(self, label: str, number: int) -> bool:
        """Import more recipients into a campaign, if it is sending. The import touches the campaign first."""
        if not self._change(label, (self.sending,), self.sending):
            return False
        self._rig.writer.add_recipients(label, pending=number)
        self._enqueue(label, {})
        return True

    def abort(self, label: str) -> bool:
        """Cancel any campaign if it is sending; its credits are leaked."""
        return self._change(label, (self.sending,), CANCELLED)

    def _ordinary(self, status: str) -> list[Row]:
        """Campaigns in one status that were not started by a fault."""
        return [row for row in self._rig.writer.campaigns(status) if _ORDINARY.fullmatch(row["name"])]

    def _change(self, campaign: str, old: tuple[str, ...], new: str) -> bool:
        table = self._rig.writer.tables.campaign
        moment = sa.func.timezone("utc", sa.func.now())
        premise = (table.c.id == self._rig.writer.bound(campaign), table.c.status.in_(old))
        with self._rig.owner.begin() as connection:
            changed = connection.execute(table.update().where(*premise).values(status=new, updated_at=moment))
            return changed.rowcount == 1

    def _enqueue(self, campaign: str, job_options: Mapping[str, Any], share: float = 1) -> list[str]:
        rig = self._rig
        tenant = rig.writer.campaign(campaign)["tenant"]
        covered = rig.live_recipients()
        pending = [recipient for recipient in rig.writer.pending_ids(campaign) if recipient not in covered]
        part = pending[: round(len(pending) * share)]
        return rig.queue.add(rig.writer.id(campaign), tenant, part, batch_size=BATCH_SIZE, **job_options)

    def _remove_jobs(self, campaign: str) -> int:
        """Remove a campaign's jobs from the queue. Returns how many are left because a worker holds them."""
        queue, own = self._rig.queue, self._rig.writer.id(campaign)
        jobs = [job for job in queue.live_job_ids() if queue.campaign_of(job) == own]
        return len(jobs) - queue.remove(jobs) if jobs else 0


def _select(rows: list[Row], which: float) -> Row | None:
    """The campaign selected by a number from 0 to 1; None if there is none."""
    ordered = sorted(rows, key=lambda row: str(row["name"]))
    return ordered[int(which * len(ordered))] if ordered else None

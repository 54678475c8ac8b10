"""The application and its people during a drill: campaigns are started, cancelled, paused and resumed.

Each change of a campaign's word repeats the premise in the write, as a sound application does. A paused campaign's
jobs are taken out of the queue, and it is resumed only when none of them is left: so the application itself never puts
anybody into two jobs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from campaign_ops.lab.shop.row_reader import Row
from campaign_ops.lab.shop.row_writer import minutes

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig

BATCH_SIZE = 20
PAUSED, CANCELLED = "paused", "cancelled"
_ORDINARY = re.compile(r"cmp_\d+")
_NOW = timedelta(0)


class Workload:
    """What the application and its people do. Keeps nothing in memory: any number of them are the same shop."""

    tenants = ("shop_north", "shop_south", "shop_harbour")

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.sending = rig.profile.campaign.words.sending

    def label(self, what: str, rng: random.Random) -> str:
        """A new campaign's id for a fault; ordinary ones are called otherwise, and people leave these alone."""
        return f"{what}_{rng.randrange(1_000_000):06d}"

    def is_full(self) -> bool:
        """Whether so many ordinary campaigns are being sent that no other is started."""
        return len(self._ordinary(self.sending)) >= self._rig.options.scale.max_sending

    def write(self, label: str, size: int, tenant: str) -> None:
        """A campaign's rows: itself, its recipients, its credits."""
        writer = self._rig.writer
        writer.add_campaign(label, name=label.replace("_", " "), tenant=tenant, updated_ago=_NOW, pending=size)
        writer.add_reservation(
            f"res_{label}", campaign=label, amount=size, created_ago=_NOW, expires_in=minutes(60), tenant=tenant
        )

    def start(self, label: str, size: int, tenant: str, job_options: Mapping[str, Any] | None = None) -> list[str]:
        """A campaign's rows and its jobs. Returns the ids of the jobs."""
        self.write(label, size, tenant)
        return self._enqueue(label, job_options or {})

    def cancel(self, which: float, *, frees_credits: bool) -> str | None:
        """A person cancels one of the campaigns that are sent or paused; the application may forget its credits."""
        rig, words = self._rig, (self.sending, PAUSED)
        campaign = _one([row for word in words for row in self._ordinary(word)], which)
        if campaign is None or not self._change(campaign["id"], words, CANCELLED):
            return None
        self._take_out(campaign["id"])
        if not frees_credits:
            return f"person: {campaign['id']} was cancelled, and its credits were forgotten"
        names = rig.profile.reservation
        assert names is not None
        for row in rig.writer.reservations(campaign["id"]):
            if row["status"] == names.words.held:
                rig.writer.set_reservation(row["id"], status=names.words.released, released_at=_NOW)
        return f"person: {campaign['id']} was cancelled"

    def pause(self, which: float) -> str | None:
        """A person pauses one of the campaigns that are sent; its jobs are taken out of the queue."""
        campaign = _one(self._ordinary(self.sending), which)
        if campaign is None or not self._change(campaign["id"], (self.sending,), PAUSED):
            return None
        self._take_out(campaign["id"])
        return f"person: {campaign['id']} was paused"

    def resume(self, which: float) -> str | None:
        """A person resumes one of those paused, unless a job of it is left; who is pending gets into new jobs."""
        ready = [row for row in self._ordinary(PAUSED) if not self._take_out(row["id"])]
        campaign = _one(ready, which)
        if campaign is None or not self._change(campaign["id"], (PAUSED,), self.sending):
            return None
        jobs = self._enqueue(campaign["id"], {})
        return f"person: {campaign['id']} was resumed, {len(jobs)} jobs"

    def extend(self, label: str, number: int) -> bool:
        """More recipients are imported into a campaign, if it is being sent. The import touches it first."""
        if not self._change(label, (self.sending,), self.sending):
            return False
        self._rig.writer.add_recipients(label, pending=number)
        self._enqueue(label, {})
        return True

    def abort(self, label: str) -> bool:
        """A campaign is cancelled if it is being sent, whoever has started it; its credits are forgotten."""
        return self._change(label, (self.sending,), CANCELLED)

    def _ordinary(self, status: str) -> list[Row]:
        """Campaigns in one status that no fault has started."""
        return [row for row in self._rig.writer.campaigns(status) if _ORDINARY.fullmatch(row["id"])]

    def _change(self, campaign: str, old: tuple[str, ...], new: str) -> bool:
        table = self._rig.writer.tables.campaign
        moment = sa.func.timezone("utc", sa.func.now())
        premise = (table.c.id == campaign, table.c.status.in_(old))
        with self._rig.owner.begin() as connection:
            changed = connection.execute(table.update().where(*premise).values(status=new, updated_at=moment))
            return changed.rowcount == 1

    def _enqueue(self, campaign: str, job_options: Mapping[str, Any]) -> list[str]:
        rig = self._rig
        tenant = rig.writer.campaign(campaign)["tenant"]
        pending = rig.writer.pending_ids(campaign)
        return rig.queue.add(campaign, tenant, pending, batch_size=BATCH_SIZE, **job_options)

    def _take_out(self, campaign: str) -> int:
        """Take a campaign's jobs out of the queue. Returns how many are left because a worker holds them."""
        queue = self._rig.queue
        jobs = [job for job in queue.live_job_ids() if queue.campaign_of(job) == campaign]
        return len(jobs) - queue.remove(jobs) if jobs else 0


def _one(rows: list[Row], which: float) -> Row | None:
    """One of the campaigns, chosen by a number from 0 to 1."""
    inorder = sorted(rows, key=lambda row: str(row["id"]))
    return inorder[int(which * len(inorder))] if inorder else None

"""The workload: campaigns that are started, cancelled, paused and resumed by the application and its users.

Each change of a campaign's status repeats the premise in the write, as a correct application does. A paused campaign's
jobs are removed from the queue, and it is resumed only when none of them is left, so the application itself never puts
a recipient into two jobs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from campaign_ops.core.wording import plural
from campaign_ops.lab.shop.row_reader import Row
from campaign_ops.lab.shop.row_writer import minutes

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig

BATCH_SIZE = 20
PAUSED, CANCELLED = "paused", "cancelled"
_ORDINARY = re.compile(r"cmp_\d+")
_NOW = timedelta(0)


class Workload:
    """Actions of the application and its users. Stateless: any number of instances are equivalent."""

    tenants = ("shop_north", "shop_south", "shop_harbour")

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
        """Write a campaign's rows: the campaign, its recipients, its reservation."""
        writer = self._rig.writer
        writer.add_campaign(label, name=label.replace("_", " "), tenant=tenant, updated_ago=_NOW, pending=size)
        writer.add_reservation(
            f"res_{label}", campaign=label, amount=size, created_ago=_NOW, expires_in=minutes(60), tenant=tenant
        )

    def start(self, label: str, size: int, tenant: str, job_options: Mapping[str, Any] | None = None) -> list[str]:
        """Write a campaign's rows and add its jobs. Returns the ids of the jobs."""
        self.write(label, size, tenant)
        return self._enqueue(label, job_options or {})

    def cancel(self, which: float, *, frees_credits: bool) -> str | None:
        """Cancel a sending or paused campaign; without ``frees_credits`` the application leaks its credits."""
        rig, words = self._rig, (self.sending, PAUSED)
        campaign = _select([row for word in words for row in self._ordinary(word)], which)
        if campaign is None or not self._change(campaign["id"], words, CANCELLED):
            return None
        self._remove_jobs(campaign["id"])
        if not frees_credits:
            return f"person: cancelled {campaign['id']}; the application did not release its credits"
        names = rig.profile.reservation
        assert names is not None
        for row in rig.writer.reservations(campaign["id"]):
            if row["status"] == names.words.held:
                rig.writer.set_reservation(row["id"], status=names.words.released, released_at=_NOW)
        return f"person: cancelled {campaign['id']}"

    def pause(self, which: float) -> str | None:
        """Pause a sending campaign and remove its jobs from the queue."""
        campaign = _select(self._ordinary(self.sending), which)
        if campaign is None or not self._change(campaign["id"], (self.sending,), PAUSED):
            return None
        self._remove_jobs(campaign["id"])
        return f"person: paused {campaign['id']}"

    def resume(self, which: float) -> str | None:
        """Resume a paused campaign of which no job is left; its pending recipients get new jobs."""
        ready = [row for row in self._ordinary(PAUSED) if not self._remove_jobs(row["id"])]
        campaign = _select(ready, which)
        if campaign is None or not self._change(campaign["id"], (PAUSED,), self.sending):
            return None
        jobs = self._enqueue(campaign["id"], {})
        return f"person: resumed {campaign['id']}, {plural(len(jobs), 'job')}"

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

    def _remove_jobs(self, campaign: str) -> int:
        """Remove a campaign's jobs from the queue. Returns how many are left because a worker holds them."""
        queue = self._rig.queue
        jobs = [job for job in queue.live_job_ids() if queue.campaign_of(job) == campaign]
        return len(jobs) - queue.remove(jobs) if jobs else 0


def _select(rows: list[Row], which: float) -> Row | None:
    """The campaign selected by a number from 0 to 1; None if there is none."""
    ordered = sorted(rows, key=lambda row: str(row["id"]))
    return ordered[int(which * len(ordered))] if ordered else None

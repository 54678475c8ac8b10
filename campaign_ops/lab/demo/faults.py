"""The faults of ``campaign-ops up``. Each returns one line that describes it, or None if it is not possible now."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from campaign_ops.lab.demo.traffic import MessengerTraffic, SmsTraffic

Fault = Callable[[], str | None]
_LIVE_LABEL = re.compile(r"cmp_\d+_\d+")


class SmsFaults:
    """Faults of the SMS application."""

    def __init__(self, shop: SmsTraffic) -> None:
        self._shop = shop
        self.all: list[Fault] = [
            self.kill_worker,
            self.lose_jobs,
            self.stall_jobs,
            self.lose_completion,
            self.pause_or_cancel,
            self.resume,
        ]

    def kill_worker(self) -> str | None:
        """Kill a worker (SIGKILL), possibly in the middle of a campaign."""
        alive = [worker for worker in self._shop.workers if worker.pid is not None]
        if not alive:
            return None
        worker = self._shop.random.choice(alive)
        pid, campaign = worker.pid, self._shop.provider.last_campaign(worker.name)
        worker.kill()
        where = ""
        if campaign is not None and self._shop.application.is_sending(campaign):
            where = f" while it was sending '{self._shop.writer.campaign(campaign)['name']}'"
        return f"fault: killed {worker.name} (pid {pid}){where}"

    def lose_jobs(self) -> str | None:
        """Start a campaign and remove half of its jobs from Redis."""
        _, name, jobs = self._shop.large_campaign()
        lost = self._shop.queue.remove(jobs[len(jobs) // 2 :])
        return f"fault: {lost} of the {len(jobs)} jobs of '{name}' were lost from Redis" if lost else None

    def stall_jobs(self) -> str | None:
        """Start a campaign with jobs that stalled too often: they wait, but fail when they are taken."""
        _, name, jobs = self._shop.large_campaign()
        doomed = jobs[-2:]
        for job_id in doomed:
            self._shop.queue.doom(job_id)
        return f"fault: {len(doomed)} of the {len(jobs)} jobs of '{name}' stalled too often and will fail"

    def lose_completion(self) -> str | None:
        """Undo a campaign's last step: its final status is not written and its credits are not released."""
        writer, words = self._shop.writer, self._shop.platform.profile.campaign.words
        names = self._shop.platform.profile.reservation
        campaign = _latest(writer.campaigns(words.done))
        if campaign is None or names is None:
            return None
        writer.set_campaign(campaign["id"], status=words.sending)
        for reservation in writer.reservations(campaign["id"]):
            writer.set_reservation(reservation["id"], status=names.words.held, released_at=None)
        return f"fault: '{campaign['name']}' was sent, but its process died before it wrote the status"

    def pause_or_cancel(self) -> str | None:
        """Pause or cancel a sending campaign, as a person would."""
        campaign = _one_of(self._shop.writer.campaigns(self._shop.sending), self._shop)
        if campaign is None:
            return None
        word = self._shop.random.choice(("paused", "cancelled"))
        self._shop.writer.set_campaign(campaign["id"], status=word)
        self._shop.queue.remove(self._jobs_of(campaign["id"]))
        return f"person: {word} '{campaign['name']}' while it was sending"

    def resume(self) -> str | None:
        """Resume a paused campaign, as a person would; the application enqueues its pending recipients."""
        campaign = _one_of(self._shop.writer.campaigns("paused"), self._shop)
        if campaign is None or self._jobs_of(campaign["id"]):
            return None
        self._shop.writer.set_campaign(campaign["id"], status=self._shop.sending)
        self._shop.enqueue(campaign["id"])
        return f"person: resumed '{campaign['name']}'"

    def _jobs_of(self, campaign: str) -> list[str]:
        queue = self._shop.queue
        return [job_id for job_id in queue.live_job_ids() if queue.campaign_of(job_id) == campaign]


class MessengerFaults:
    """Faults of the messenger application."""

    def __init__(self, messenger: MessengerTraffic) -> None:
        self._messenger = messenger
        self.all: list[Fault] = [self.restart, self.set_counter_wrong, self.lose_completion]

    def restart(self) -> str | None:
        """Restart the process, which loses the list of recipients that are left."""
        left = self._messenger.left
        if not left:
            return None
        names = ", ".join(f"'{self._messenger.writer.campaign(campaign)['name']}'" for campaign in left)
        left.clear()
        return f"fault: restarted the messenger while it was sending {names}"

    def set_counter_wrong(self) -> str | None:
        """Lose a counter update, or apply one twice."""
        writer = self._messenger.writer
        campaign = _one_of(writer.campaigns(self._messenger.sending), self._messenger)
        if campaign is None or campaign["succeeded"] < 10:
            return None
        wrong = max(0, campaign["succeeded"] + self._messenger.random.choice((-9, -4, 3)))
        writer.set_campaign(campaign["id"], succeeded=wrong)
        return f"fault: the sent counter of '{campaign['name']}' went from {campaign['succeeded']} to {wrong}"

    def lose_completion(self) -> str | None:
        """Undo a campaign's last step: its final status is not written."""
        words = self._messenger.platform.profile.campaign.words
        campaign = _latest(self._messenger.writer.campaigns(words.done))
        if campaign is None:
            return None
        self._messenger.writer.set_campaign(campaign["id"], status=words.sending, completed_at=None)
        return f"fault: '{campaign['name']}' was sent, but its process died before it wrote the status"


def _latest(campaigns: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The campaign changed last, of those that the simulation has started."""
    ours = [campaign for campaign in campaigns if _LIVE_LABEL.fullmatch(campaign["id"])]
    return ours[-1] if ours else None


def _one_of(campaigns: Sequence[dict[str, Any]], traffic: SmsTraffic | MessengerTraffic) -> dict[str, Any] | None:
    """A random campaign of those that the simulation has started."""
    ours = [campaign for campaign in campaigns if _LIVE_LABEL.fullmatch(campaign["id"])]
    return traffic.random.choice(ours) if ours else None

"""The stage with people, a second queue, markers that end and a breaker that trips; and what must be true then."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from bullmq import Queue as BullQueue

from campaign_ops.bullmq.queue import Queue
from campaign_ops.bullmq.queue_group import QueueGroup
from campaign_ops.fixes.confirm import FixCall, make_confirmed, try_out
from campaign_ops.fixes.fix import Person
from campaign_ops.lab.shop.provider import Answer
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.sweep import Sweep
from campaign_ops.sweep.confirm import confirmation
from campaign_ops.sweep.report import dry_run
from tests.conftest import World
from tests.sweep.stage import EXPECTED, Act, Place, Stage, Watched

SECOND = "sms-retry"
FLOOR = 1
# Writes down each reservation that a process of ours releases, with the status that its campaign has at that moment.
WITNESS = """
CREATE TABLE witness (id text, status text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('application_name') LIKE 'campaign_ops%' THEN
        INSERT INTO witness SELECT NEW.id, (SELECT status FROM "Campaign" WHERE id = NEW."campaignId");
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER UPDATE ON "CreditReservation" FOR EACH ROW
    WHEN (OLD.status = 'active' AND NEW.status = 'released') EXECUTE FUNCTION note();
"""


class WatchedGroup(Watched, QueueGroup):
    """The real queues, each call of which is a moment."""

    def _member(self, name: str) -> Queue:
        fresh = name not in self._members
        member = super()._member(name)
        if fresh:
            self._judge(member._writer)
        return member


class Town(Stage):
    """One platform, two queues, the application, people who fix, undo and confirm, and our sweeps."""

    watched = WatchedGroup
    breaker: Mapping[str, Any] = {"breaker_floor": FLOOR, "breaker_share": 0.5}

    def __init__(self, world: World) -> None:
        with world.app.engine.begin() as connection:
            connection.execute(sa.text(WITNESS))
        super().__init__(world)

    def begin(self) -> None:
        super().begin()
        self.expired: set[str] = set()
        """Recipients whose markers ended after a sweep had seen them: still not to be sent to."""
        self.reopened: Counter[str] = Counter()
        self.held_again: Counter[str] = Counter()
        self.codes: list[Any] = []
        self.runs = itertools.count(1)
        self.put_back: set[str] = set()
        self.most_sending = 0
        self.free_of_breaker = False

    # -- the application and time --------------------------------------------------------------------------------------

    def enqueue_elsewhere(self, campaign: str, most: int) -> None:
        """The application retries through its second queue."""
        covered = self.covered()
        if not self.app.is_sending(campaign):
            return
        ids = [one for one in self.app.pending_ids(campaign) if not covered[one]][: max(most, 1)]
        data = self.world.queue.payload(campaign, "shop", ids)

        async def add() -> None:
            queue = BullQueue(SECOND, {"connection": self.world.queue.url, "prefix": self.world.queue.prefix})
            await queue.add(self.queue_profile.job, data, {"attempts": 1})
            await queue.close()

        if ids:
            self.wait(add())

    def lose_elsewhere(self) -> None:
        for job_id in self._second("wait"):
            self.redis.lrem(self._key("wait"), 0, job_id)
            self.redis.delete(self._key(job_id))

    def answer_all(self, campaign: str) -> None:
        """Every message of a campaign went out, and its worker died before it completed the campaign."""
        if not self.app.is_sending(campaign):
            return
        jobs = [job for job in self.world.queue.live_job_ids() if self._lists(job, campaign)]
        for job_id in jobs:
            self.redis.delete(self.world.queue.key(f"{job_id}:lock"))
        self.world.queue.remove(jobs)
        for recipient in self.app.pending_ids(campaign):
            self.sends[recipient] = self.sends[recipient] or 1
            self.app.write_answer(recipient, Answer(f"msg_{recipient}"))

    def forget_credits(self, campaign: str) -> None:
        """The application completes a campaign, and dies before it releases the credits."""
        if self.app.is_sending(campaign) and not self.app.pending_ids(campaign):
            self.world.app.set_campaign(campaign, status="sent", updated_ago=hours(1))
            self.completed_by_application.add(campaign)

    def reopen(self, campaign: str) -> None:
        """The application sends a campaign that is over to one recipient more, and takes credits for it again."""
        if self.app.campaign(campaign)["status"] not in ("sent", "failed"):
            return
        self.world.app.set_campaign(campaign, status="sending")
        self.world.app.add_recipients(campaign, pending=1)
        self.reopened[campaign] += 1
        self.completed_by_application.discard(campaign)
        for hold in self.app.reservations(campaign):
            if hold["status"] == "released":
                self.world.app.set_reservation(hold["id"], status="active")
                self.held_again[hold["id"]] += 1
                self.released_by_application.discard(hold["id"])

    def expire_markers(self) -> None:
        """Markers that a sweep has seen come to their end."""
        remembered = self.world.rows("SELECT recipient_id FROM campaign_ops.ambiguous WHERE decided_at IS NULL")
        ids = {row["recipient_id"] for row in remembered}
        ids -= set(self.covered())
        marked = {one for one in ids if any(self.redis.exists(m.format(recipient_id=one)) for m in self._markers)}
        for one in marked:
            self.redis.delete(*(marker.format(recipient_id=one) for marker in self._markers))
        self.expired |= marked
        self.may_come_again.update(marked)  # from the application, which knows no other guard

    # -- people --------------------------------------------------------------------------------------------------------

    def fix(self, name: str, nth: int) -> None:
        """A person tries a manual fix out and confirms it with its code."""
        target = self._target(name, nth)
        if target is None:
            return
        person = Person("ann", "a story", f"fix-{next(self.runs)}")
        as_left = name != "undo" or self._as_left(target)
        ids = set(self.app.pending_ids(target)) if name == "send-again" else set()
        doubtful, self.expired = self.expired, self.expired - ids
        self.free_of_breaker = True
        try:
            call = FixCall(name, target, person)
            _, offer = try_out(self.platforms[0], call)
            assert offer is not None
            made = make_confirmed(self.platforms[0], call, offer.code)
        except EXPECTED:
            self.expired = doubtful
            return
        finally:
            self.free_of_breaker = False
        assert as_left, f"undid a repair whose row was changed since: {made}"
        self.may_come_again.update(ids)

    def _target(self, name: str, nth: int) -> Any:
        if name == "undo":
            repairs = self.world.rows(
                "SELECT id FROM campaign_ops.repair WHERE kind IN ('complete', 'reenqueue', 'release') ORDER BY id DESC"
            )
            return repairs[nth % len(repairs)]["id"] if repairs else None
        if name == "release":
            holds = [hold["id"] for one in self.campaigns for hold in self.app.reservations(one)]
            return holds[nth % len(holds)] if holds else None
        return self.campaigns[nth % len(self.campaigns)]

    def _as_left(self, repair_id: int) -> bool:
        """Whether the rows of a repair are as it left them, status and moment."""
        rows = self.world.rows(
            "SELECT kind, target, after FROM campaign_ops.repair WHERE (id = :id OR parent_id = :id)"
            " AND kind IN ('complete', 'release') AND undone_by IS NULL",
            id=repair_id,
        )
        for row in rows:
            table, moment = (
                ('"Campaign"', "updatedAt") if row["kind"] == "complete" else ('"CreditReservation"', "releasedAt")
            )
            key = "updated_at" if row["kind"] == "complete" else "released_at"
            (same,) = self.world.rows(
                f"SELECT status = :status AND \"{moment}\" AT TIME ZONE 'UTC' IS NOT DISTINCT FROM"
                f" CAST(:moment AS timestamptz) AS same FROM {table} WHERE id = :id",
                status=row["after"]["status"], moment=row["after"][key], id=row["target"],
            )  # fmt: skip
            if not same["same"]:
                return False
        return True

    def campaign_of_newest_repair(self) -> str | None:
        """The campaign that the newest repair was made on, if there is one."""
        repairs = self.world.rows(
            "SELECT campaign_id FROM campaign_ops.repair WHERE kind IN ('complete', 'release') ORDER BY id DESC LIMIT 1"
        )
        return repairs[0]["campaign_id"] if repairs else None

    def confirm(self, meanwhile: Sequence[tuple[Place, Act]], *, old_code: bool = False) -> None:
        """A person confirms what a plan shows to be held back; perhaps with a code that was used before."""
        platform = self.platforms[0]
        with contextlib.suppress(*EXPECTED):
            code = self.codes[-1] if old_code and self.codes else None
            if code is None:
                code = confirmation(dry_run(platform, run_id=f"plan-{next(self.runs)}"), "ann", "a story")
            self.codes += [code] if code is not None else []
            used = self.world.rows("SELECT 1 FROM campaign_ops.confirmation WHERE used_at IS NOT NULL AND code = :code",
                                   code=code and code.code)  # fmt: skip
            self._begin_step()
            self.free_of_breaker, self.meanwhile = code is not None and not used, list(meanwhile)
            run = f"confirmed-{next(self.runs)}"
            Sweep(platform, run_id=run, trigger="test", actor="ann", confirm=code, lock_wait_seconds=0).run()
        self.free_of_breaker, self.meanwhile = False, []

    # -- our sweeps ----------------------------------------------------------------------------------------------------

    def step(self, process: int, run_id: str, step: str, meanwhile: Sequence[tuple[Place, Act]] = ()) -> None:
        self._begin_step()
        super().step(process, run_id, step, meanwhile)

    def act(self, what: Act) -> None:
        super().act(what)
        self.most_sending = max(self.most_sending, len(self.app.campaigns("sending")))

    def _begin_step(self) -> None:
        self.put_back = set()
        self.moments = 0
        self.most_sending = len(self.app.campaigns("sending"))

    # -- what must be true ---------------------------------------------------------------------------------------------

    def judge(self, payloads: list[dict[str, Any]]) -> None:
        super().judge(payloads)
        doubtful = {one for payload in payloads for one in payload["recipientIds"]} & self.expired
        assert not doubtful, f"added although they were marked before: {doubtful}"
        self.put_back |= {payload["campaignId"] for payload in payloads}
        if not self.free_of_breaker:
            most = max(FLOOR, self.most_sending / 2)
            assert len(self.put_back) <= most, f"{self.put_back} past the breaker, of {self.most_sending} sending"

    def covered(self) -> Counter[str]:
        covered = super().covered()
        for state in ("wait", "active", "delayed"):
            for job_id in self._second(state):
                if data := self.redis.hget(self._key(job_id), "data"):
                    covered.update(json.loads(data)["recipientIds"])
        return covered

    def check(self) -> None:
        super().check()
        wrong = self.world.rows("SELECT id, status FROM witness WHERE status = 'sending'")
        assert not wrong, f"released although the campaign was sending: {wrong}"

    def _check_campaigns(self, completed: list[str]) -> None:
        undone = self.world.rows("SELECT target FROM campaign_ops.repair WHERE kind = 'complete' AND undone_by > 0")
        stands = Counter(completed) - Counter(row["target"] for row in undone)
        for row in self.app.campaigns():
            campaign, over = row["id"], row["status"] in ("sent", "failed")
            assert not over or not self.app.pending_ids(campaign), f"{campaign} is over, with recipients pending"
            ours = stands[campaign] - self.reopened[campaign] > 0
            assert not over or stands[campaign] or campaign in self.completed_by_application, f"{campaign}: who did it?"
            assert not (ours and campaign in self.completed_by_application), f"{campaign} was over when we completed it"
            assert (row["status"] == "cancelled") == (campaign in self.cancelled), f"{campaign} is {row['status']}"

    def _check_credits(self, journal: list[dict[str, Any]]) -> None:
        undone = self.world.rows("SELECT target FROM campaign_ops.repair WHERE kind = 'release' AND undone_by > 0")
        stands = Counter(row["target"] for row in journal if row["kind"] == "release")
        stands -= Counter(row["target"] for row in undone)
        for campaign in self.campaigns:
            for hold in self.app.reservations(campaign):
                ours = stands[hold["id"]]
                assert ours <= 1 + self.held_again[hold["id"]], f"{hold}: released {ours} times by us"
                if not self.held_again[hold["id"]]:
                    theirs = hold["id"] in self.released_by_application
                    assert ours + theirs == (hold["status"] == "released"), f"{hold}: released {ours} times by us"

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _journaled_releases(self) -> set[str]:
        rows = self.world.rows("SELECT target FROM campaign_ops.repair WHERE kind = 'release' AND undone_by IS NULL")
        return {row["target"] for row in rows}

    def _lists(self, job_id: str, campaign: str) -> bool:
        return bool(self.world.queue.job_data(job_id)["campaignId"] == campaign)

    def _key(self, part: str) -> str:
        return f"{self.world.queue.prefix}:{SECOND}:{part}"

    def _second(self, state: str) -> list[str]:
        key = self._key(state)
        ids: Any = self.redis.zrange(key, 0, -1) if state == "delayed" else self.redis.lrange(key, 0, -1)
        return [str(one) for one in ids]

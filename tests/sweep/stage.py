"""One platform with everybody who acts on it, and what must be true of it whatever they do.

The application, its workers and people act through real PostgreSQL and Redis, one act at a time; our own steps can be
interrupted at every statement, commit and queue call, by somebody's act or by a kill. Seven rules hold after each.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import redis
import redis.asyncio
import sqlalchemy as sa
from bullmq import Job, Worker
from bullmq import Queue as BullQueue

from campaign_ops.bullmq.queue import Guard, NewJob, Queue
from campaign_ops.core.errors import CampaignOpsError, DatabaseTimeout, Refused, SweepBusy
from campaign_ops.lab.shop.application import Application
from campaign_ops.lab.shop.provider import Answer
from campaign_ops.lab.shop.worker import Claims
from campaign_ops.platform import Platform
from campaign_ops.sweep import Sweep
from tests.conftest import World, Worlds

T = TypeVar("T")
Act = Callable[[], object]
Place = int | str
BATCH = 2
EXPECTED = (Refused, SweepBusy, DatabaseTimeout)
STEPS = ("make_plan", "complete", "reenqueue", "release", "report")
DEATHS = ("claim", "send", "write", "complete")
QUEUE_CALLS = frozenset(
    {"state", "snapshot", "live_jobs", "last_look", "newcomers", "live_ids", "fields", "marked", "present", "add"}
)
OURS = "ops-"


def small_batches(worlds: Worlds, size: int) -> World:
    """An SMS platform with jobs of so many recipients."""
    world = worlds.make("sms")
    profile = world.platform.profile
    assert profile.queue is not None
    # Workers complete the jobs of a campaign that was paused meanwhile without sending to anybody.
    small = profile.queue.model_copy(update={"batch_size": size, "completed_means": "nothing"})
    world.platform.profile = profile.model_copy(update={"queue": small})
    world.queue.profile = small
    return world


class Killed(BaseException):
    """The end of our process. Nothing in the product may catch it."""


class Watched(Queue):
    """The real queue, each call of which is a moment; what is added is judged at the moment of adding."""

    def __init__(self, queue: Queue, stage: Stage) -> None:
        self._stage = stage
        super().__init__(queue.address, queue.profile)
        self._judge(self._writer)

    def _judge(self, writer: Any) -> None:
        stage, add = self._stage, writer.add

        def judged(jobs: Sequence[NewJob], payloads: Any, guard: Guard | None = None) -> tuple[list[str], Any]:
            stage.moment()
            added, error = add(jobs, payloads, guard)
            stage.judge([payloads[one] for one in added])
            stage.added.update(added)
            stage.moment()
            return added, error

        writer.add = judged

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name not in QUEUE_CALLS:
            return value
        stage: Stage = self._stage

        def watched(*arguments: Any, **options: Any) -> Any:
            stage.moment(f"before {name}")
            result = value(*arguments, **options)
            stage.moment(f"after {name}")
            return result

        return watched


class Stage:
    """Everybody's acts, and the record of what the application did itself."""

    watched: type[Watched] = Watched
    breaker: Mapping[str, Any] = {"breaker_floor": 1000}

    def __init__(self, world: World) -> None:
        self.world = world
        self.loop = asyncio.new_event_loop()
        profile = world.platform.profile
        assert profile.queue is not None
        self.queue_profile = profile.queue
        patient = sa.make_url(world.url).update_query_dict({"options": "-c lock_timeout=50 -c timezone=UTC"})
        world.app.engine.dispose()
        world.app.engine = sa.create_engine(patient)
        self.app = Application(world.app.engine, profile)
        self.redis = redis.Redis.from_url(world.queue.url, decode_responses=True)
        self.claims = Claims(self.redis, profile.queue)
        self.bull: BullQueue | None = None
        self.hands: Worker | None = None
        self.platforms: list[Platform] = []
        with self.app.engine.begin() as connection:
            found = connection.execute(
                sa.text(
                    "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                    " WHERE schemaname IN ('public', 'campaign_ops') AND tablename NOT LIKE '%version%'"
                )
            )
            self.tables = ", ".join(found.scalars())
        self.begin()

    def begin(self) -> None:
        """An empty platform."""
        with self.app.engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {self.tables} RESTART IDENTITY CASCADE"))
        self.redis.flushdb()
        self.world.queue.open()
        self.numbers = itertools.count(1)
        self.campaigns: list[str] = []
        self.cancelled: set[str] = set()
        self.sends: Counter[str] = Counter()
        self.may_come_again: Counter[str] = Counter()
        self.added: set[str] = set()
        self.doubled_by_application: dict[str, int] = {}
        self.completed_by_application: set[str] = set()
        self.released_by_application: set[str] = set()
        self.moments = 0
        self.meanwhile: list[tuple[Place, Act]] = []
        self.platforms = [*self.platforms[:2]] or [self.process(), self.process()]

    def close(self) -> None:
        for platform in self.platforms:
            platform.close()
        for client in (self.hands, self.bull):
            if client is not None:
                self.wait(client.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        self.redis.close()

    # -- the application -----------------------------------------------------------------------------------------------

    def start_campaign(self, recipients: int, in_jobs: int, credits_held: int, **options: Any) -> None:
        """A campaign whose first ``in_jobs`` recipients are enqueued; the rest is lost already."""
        label = f"c{next(self.numbers)}"
        self.world.app.add_campaign(label, pending=recipients, tenant=f"shop{len(self.campaigns) % 2}")
        self.campaigns.append(label)
        for number in range(credits_held):
            expires = timedelta(minutes=30) if number else None
            self.world.app.add_reservation(f"{label}h{number}", campaign=label, amount=7 + number, expires_in=expires)
        self.enqueue(label, in_jobs, **options)

    def enqueue(self, campaign: str, most: int, *, lost: bool = False, **options: Any) -> None:
        """As the application does: its own pending recipients, whoever else has them, or only the ``lost`` ones."""
        if not self.app.is_sending(campaign):
            return
        covered = self.covered()
        ids = [one for one in self.app.pending_ids(campaign) if not (lost and covered[one])][:most]
        opts = {**self.queue_profile.options, "backoff": None, "removeOnComplete": True, **options}

        async def add(queue: BullQueue) -> None:
            for start in range(0, len(ids), BATCH):
                data = self.world.queue.payload(campaign, "shop", ids[start : start + BATCH])
                await queue.add(self.queue_profile.job, data, opts)

        self.run(add)
        self.doubled_by_application |= {one: covered[one] + 1 for one in ids if covered[one]}

    def come_and_go(self, campaign: str, death: str | None, recipients_first: int) -> None:
        """A job that is added, taken at once and ended: looks before and after do not see it."""
        self.enqueue(campaign, BATCH, lost=True, attempts=1, lifo=True)
        self.work(death, recipients_first, fail=True)

    def add_recipients(self, campaign: str) -> None:
        if self.app.is_sending(campaign):
            self.world.app.add_recipients(campaign, pending=1)

    def retry(self, nth: int) -> None:
        """A person or the application puts a failed job back."""
        failed = self.world.queue.job_ids("failed")
        if not failed:
            return
        job_id = failed[nth % len(failed)]
        covered = self.covered()

        async def retry(queue: BullQueue) -> None:
            job = await Job.fromId(queue, job_id)
            assert job is not None
            await job.retry("failed")

        self.run(retry)
        ids = self.world.queue.job_data(job_id)["recipientIds"]
        self.doubled_by_application |= {one: covered[one] + 1 for one in ids if covered[one]}

    def lose(self, nth: int) -> None:
        """A job vanishes, as with an eviction or a careless `obliterate`."""
        jobs = sorted(self.world.queue.live_job_ids())
        if jobs:
            self.redis.delete(self.world.queue.key(f"{jobs[nth % len(jobs)]}:lock"))
            self.world.queue.remove([jobs[nth % len(jobs)]])

    def promote(self) -> None:
        """Delayed jobs' time comes."""
        self.run(lambda queue: queue.promoteJobs({}))

    # -- workers -------------------------------------------------------------------------------------------------------

    def work(self, death: str | None, recipients_first: int, *, fail: bool = False) -> None:
        """Take the next job and send, up to an end at ``death`` after so many recipients: killed, or failing."""
        token = uuid4().hex
        job = self.wait(self._worker().moveToActive(token))
        if job is None:
            return
        if self.redis.hget(self.world.queue.key(job.id), "defa"):
            self.wait(job.moveToFailed("stalled too often", token))
            return
        if self._send(job, death, recipients_first):
            self.wait(job.moveToCompleted("ok", token))
        elif fail:
            self.wait(job.moveToFailed("the database went away", token))

    def _send(self, job: Job, death: str | None, recipients_first: int) -> bool:
        campaign = str(job.data["campaignId"])
        for number, recipient in enumerate(self.app.unsent(campaign, job.data["recipientIds"])):
            dying = death if number == recipients_first else None
            if not self.app.is_sending(campaign):
                return True
            if not self.claims.take(recipient):
                continue
            if dying == "claim":
                return False
            self.sends[recipient] += 1
            if dying == "send":
                return False
            self.app.write_answer(recipient, Answer(f"msg_{recipient}"))
            self.claims.sent(recipient)
            if dying == "write":
                return False
        if death == "complete":
            return False
        self.complete(campaign)
        return True

    def complete(self, campaign: str) -> None:
        if self.app.complete(campaign):
            self.completed_by_application.add(campaign)
            held = {row["id"] for row in self.app.reservations(campaign) if row["status"] == "released"}
            self.released_by_application |= held - self._journaled_releases()

    def find_stalled(self) -> None:
        """Locks of dead workers run out, and a live one finds their jobs."""
        for job_id in self.world.queue.job_ids("active"):
            self.redis.delete(self.world.queue.key(f"{job_id}:lock"))
        for _ in range(2):
            self.redis.delete(self.world.queue.key("stalled-check"))
            self.wait(self._worker().runStalledJobsCheck())

    # -- people and time -----------------------------------------------------------------------------------------------

    def set_status(self, campaign: str, word: str) -> None:
        """Cancel, pause or resume; what is over stays over."""
        now = self.app.campaign(campaign)["status"]
        if now not in ("sending", "paused") or (now == word):
            return
        self.world.app.set_campaign(campaign, status=word)
        if word == "cancelled":
            self.cancelled.add(campaign)

    def time_passes(self, hours: int = 1) -> None:
        """Everything is so much older."""
        columns = {
            '"Campaign"': ['"updatedAt"'],
            '"CampaignRecipient"': ['"sentAt"', '"failedAt"'],
            '"CreditReservation"': ['"createdAt"', '"expiresAt"'],
            "campaign_ops.attempt": ["last_at"],
            "campaign_ops.intent": ["intended_at"],
            "campaign_ops.recipient_status_history": ["observed_at"],
        }
        with self.app.engine.begin() as connection:
            for table, names in columns.items():
                older = ", ".join(f"{name} = {name} - interval '{hours} hours'" for name in names)
                over = " WHERE status NOT IN ('sent', 'failed')" if table == '"Campaign"' else ""
                connection.execute(sa.text(f"UPDATE {table} SET {older}{over}"))

    # -- our sweeps ----------------------------------------------------------------------------------------------------

    def process(self) -> Platform:
        """A process of ours: its own connections, each statement and commit a moment."""
        platform = self.world.again(max_attempts=50, max_jobs_per_sweep=2000, **self.breaker)
        assert platform.queue is not None
        platform.queue.close()
        platform.queue = self.watched(platform.queue, self)
        sa.event.listen(platform.database._engine, "before_cursor_execute", lambda *_: self.moment())
        sa.event.listen(platform.database._engine, "commit", lambda _: self.moment())
        return platform

    def step(self, process: int, run_id: str, step: str, meanwhile: Sequence[tuple[Place, Act]] = ()) -> None:
        """One step of a sweep; at the given moments somebody does something, or it is killed."""
        self.moments, self.meanwhile = 0, list(meanwhile)
        platform = self.platforms[process]
        sweep = Sweep(platform, run_id=run_id, trigger="test", actor="tests", lock_wait_seconds=0)
        try:
            getattr(sweep, step)()
        except Killed:
            self.platforms[process] = self.process()
            platform.close()
        except CampaignOpsError as error:
            if not isinstance(error, EXPECTED):
                raise
        finally:
            self.meanwhile = []

    def moment(self, name: str = "") -> None:
        """A moment of a step, known by its number and perhaps by a name; whose turn it is acts."""
        self.moments += 1
        due = [one for one in self.meanwhile if one[0] in (self.moments, name)]
        self.meanwhile = [one for one in self.meanwhile if one not in due]
        for _, what in due:
            self.act(what)

    def act(self, what: Act) -> None:
        """Let somebody act; a lock that we hold keeps them waiting, and they give up."""
        try:
            what()
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":
                raise

    @staticmethod
    def kill() -> None:
        raise Killed

    # -- what must be true ---------------------------------------------------------------------------------------------

    def judge(self, payloads: list[dict[str, Any]]) -> None:
        """Right after adding: each recipient waits, is unmarked, and stands in no other live job."""
        covered = self.covered()
        for payload in payloads:
            ids = payload["recipientIds"]
            waiting = set(self.app.unsent(payload["campaignId"], ids))
            assert waiting == set(ids), f"not pending when added: {set(ids) - waiting}"
            in_jobs = [one for one in ids if covered[one] > 1]
            assert not in_jobs, f"in a live job when added: {in_jobs}"
            marked = [one for one in ids if any(self.redis.exists(m.format(recipient_id=one)) for m in self._markers)]
            assert not marked, f"marked when added: {marked}"

    def check(self) -> None:
        """All rules."""
        covered = self.covered()
        self.doubled_by_application = {
            one: min(most, covered[one]) for one, most in self.doubled_by_application.items() if covered[one] > 1
        }
        doubled = {one: number for one, number in covered.items() if number > self.doubled_by_application.get(one, 1)}
        assert not doubled, f"in several live jobs: {doubled}"
        twice = {one for one, times in self.sends.items() if times > 1 + self.may_come_again[one]}
        assert not twice, f"sent twice: {twice}"
        journal = self.world.rows("SELECT kind, target, campaign_id, amount, before, after FROM campaign_ops.repair")
        by_kind = defaultdict(list)
        for row in journal:
            by_kind[row["kind"]].append(row["target"])
        self._check_campaigns(by_kind["complete"])
        self._check_credits(journal)
        self._check_intents(Counter(by_kind["reenqueue"]))

    def _check_campaigns(self, completed: list[str]) -> None:
        assert len(completed) == len(set(completed)), f"completed twice: {completed}"
        for row in self.app.campaigns():
            over = row["status"] in ("sent", "failed")
            assert not over or not self.app.pending_ids(row["id"]), f"{row['id']} is over, with recipients pending"
            by_us, by_them = row["id"] in completed, row["id"] in self.completed_by_application
            assert over == (by_us or by_them), f"{row['id']} is {row['status']}, the journal says {by_us}"
            assert not (by_us and by_them), f"{row['id']} was over already when we completed it"
            assert (row["status"] == "cancelled") == (row["id"] in self.cancelled), f"{row['id']} is {row['status']}"

    def _check_credits(self, journal: list[dict[str, Any]]) -> None:
        released = Counter({row["target"]: 0 for row in journal})
        for row in journal:
            if row["kind"] == "release":
                released[row["target"]] += 1
        for campaign in self.campaigns:
            for hold in self.app.reservations(campaign):
                theirs = hold["id"] in self.released_by_application
                gone = hold["status"] == "released"
                assert released[hold["id"]] + theirs == gone, f"{hold}: released {released[hold['id']]} times by us"
        freed = sum(row["amount"] for row in journal if row["kind"] == "release")
        amounts = {hold["id"]: hold["amount"] for one in self.campaigns for hold in self.app.reservations(one)}
        assert freed == sum(amounts[one] for one, times in released.items() if times), "the journal's sum is another"

    def _check_intents(self, attempts: Counter[str]) -> None:
        intents = self.world.rows(
            "SELECT job_id, repair_id, campaign_id, recipients, added_at FROM campaign_ops.intent"
        )
        said = {row["job_id"] for row in intents}
        assert self.added <= said, "added without an intent"
        confirmed = {row["job_id"] for row in intents if row["added_at"] is not None}
        assert confirmed <= self.added, f"confirmed, but never in the queue: {confirmed - self.added}"
        counted = self.world.rows("SELECT campaign_id, total FROM campaign_ops.attempt")
        attempted = {row["campaign_id"]: row["total"] for row in counted if row["total"]}  # a row may be a hold alone
        assert attempted == dict(attempts), f"the journal has {dict(attempts)}, counted are {attempted}"

    def covered(self) -> Counter[str]:
        """In how many live jobs each recipient stands."""
        key = self.world.queue.key
        covered: Counter[str] = Counter()
        for job_id in self.world.queue.live_job_ids():
            if data := self.redis.hget(key(job_id), "data"):
                covered.update(json.loads(data)["recipientIds"])
        return covered

    # -- parts ---------------------------------------------------------------------------------------------------------

    @property
    def _markers(self) -> tuple[str, ...]:
        return tuple(self.queue_profile.markers)

    def _journaled_releases(self) -> set[str]:
        return {row["target"] for row in self.world.rows("SELECT target FROM campaign_ops.repair WHERE kind='release'")}

    def _worker(self) -> Worker:
        if self.hands is None:

            async def make() -> Worker:
                options = {"connection": self.world.queue.url, "prefix": self.world.queue.prefix, "autorun": False}
                return Worker(self.queue_profile.name, lambda *_: None, options)

            self.hands = self.loop.run_until_complete(make())
        return self.hands

    def run(self, work: Callable[[BullQueue], Coroutine[Any, Any, T]]) -> T:
        async def go() -> T:
            if self.bull is None:
                options = {"connection": self.world.queue.url, "prefix": self.world.queue.prefix}
                self.bull = BullQueue(self.queue_profile.name, options)
            return await work(self.bull)

        return self.loop.run_until_complete(go())

    def wait(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

"""Everything that a drill runs on: servers, platform, workers, sweepers. It decides and checks nothing.

Faults act through it: ``keep_alive`` replaces dead processes, and ``restore`` repairs everything.
"""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import redis
import sqlalchemy as sa

from campaign_ops.core.errors import ConfigurationError, DatabaseUnavailable
from campaign_ops.lab.demo.platforms import DemoPlatform
from campaign_ops.lab.drill.environment.beside import Beside
from campaign_ops.lab.drill.environment.environment import OPS_ROLE, PLATFORM, check, prepare
from campaign_ops.lab.drill.environment.processes import node_missing
from campaign_ops.lab.drill.environment.workforce import DAGSTER, SWEEPERS, WORKER, Workforce
from campaign_ops.lab.drill.ledger import ADDED, EMPTIED, REDIS_LOSS, Ledger
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.receiver import RECEIVED, Receiver
from campaign_ops.lab.drill.work_dir import create_work_dir
from campaign_ops.lab.drill.worlds import WORLDS
from campaign_ops.lab.servers import pgbouncer as bouncing
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.pgbouncer import PgBouncer
from campaign_ops.lab.shop.application import Application
from campaign_ops.lab.shop.node_adders import NodeAdders
from campaign_ops.lab.shop.provider import Provider, provider_send
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.row_writer import RowWriter
from campaign_ops.platform import Platform
from campaign_ops.profile.model import Profile
from campaign_ops.settings import connect, load_settings

__all__ = ["DAGSTER", "OPS_ROLE", "SWEEPERS", "Rig"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, redis.RedisError, OSError)
_PATIENCE_SECONDS = 60.0


class Rig(Workforce):
    """A platform that sends and is swept, on throw-away servers. A context manager.

    Args:
        options: The drill's options.
        say: Receives every line of the log.
        stop: If it is set, the start is aborted.

    Attributes:
        work_dir: The drill's directory.
        platform: The platform as its owner sees it.
        profile: The platform's profile.
        owner: The owner's engine on its database; its statements wait at most two seconds for a lock.
        writer: Writes and reads the platform's rows.
        queue: The application's view of the queue.
        application: Writes what the application writes while it sends.
        provider: The message provider's own record.
        ledger: Records which role changed which row.
        ops_url: SQLAlchemy URL of the database over TCP, as our role.
        receiver: Receives the watcher's notifications; None in a drill without a watcher.
        pgbouncer: In front of the database; None if the program is not installed.
        beside: The second platform; None in worlds without one.
        redis_in_use: Held by whoever stops and starts Redis.
        story: (second, line) of everything that was logged.
    """

    platform: DemoPlatform
    profile: Profile
    owner: sa.Engine
    writer: RowWriter
    queue: ShopQueue
    application: Application
    provider: Provider
    ledger: Ledger
    ops_url: str

    def __init__(
        self, options: DrillOptions, say: Callable[[str], None] = log.info, stop: threading.Event | None = None
    ) -> None:
        super().__init__(options)
        self.receiver: Receiver | None = None
        self.pgbouncer: PgBouncer | None = None
        self.beside: Beside | None = None
        self.redis_in_use = threading.RLock()
        self._stop = stop or threading.Event()
        self.story: list[tuple[float, str]] = []
        self._say = say
        self._began = time.monotonic()
        self._saved = itertools.count(1)
        self._running = ExitStack()

    @property
    def servers(self) -> EmbeddedServers | None:
        """The embedded servers; None with external ones."""
        return self.environment.servers

    @property
    def seconds(self) -> float:
        """Seconds since the rig was up."""
        return time.monotonic() - self._began

    # -- up and down -------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start servers, platform, role and ledger, but no worker or sweeper yet.

        Raises:
            ConfigurationError: Node workers are not installed, the work directory cannot be made, a URL is invalid.
            Refused: An external server looks like production.
            Unavailable: A server cannot be reached or did not start.
            KeyboardInterrupt: ``stop`` was set meanwhile; everything is cleaned up.
        """
        if self.options.node and (reason := node_missing()):
            what, _, mend = reason.partition("; ")
            raise ConfigurationError(what, where="--node", mend=mend)
        check(self.options)
        if self._stop.is_set():
            raise KeyboardInterrupt
        create_work_dir(self.work_dir, self.options.seed)
        try:
            self._come_up()
        except BaseException:
            self._running.close()
            if self._stop.is_set():  # probably the cause: initdb receives Ctrl-C, too
                shutil.rmtree(self.work_dir, ignore_errors=True)
                raise KeyboardInterrupt from None
            raise
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything that was started, and clean up external servers."""
        self._running.close()

    def _come_up(self) -> None:
        environment = self.environment = prepare(self.options, self._running)
        self.platform, self.ops_url = environment.platform, environment.ops_url
        self.profile = self.platform.profile
        self.owner = sa.create_engine(
            self.platform.database_url,
            pool_size=10,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 3, "options": "-c lock_timeout=2000", "application_name": "drill"},
        )
        self._running.callback(self.owner.dispose)
        self.writer = RowWriter(self.owner, self.profile, self.platform.shape)
        self.application = Application(self.owner, self.profile, self.platform.shape)
        self.provider = Provider(self.owner, reject_share=WORKER.reject_share)
        self.queue = self.platform.queue()
        self._running.callback(self.queue.close)
        if majors := [major for name in self.options.worlds for major in WORLDS[name].clients]:
            self._adders = self._running.enter_context(NodeAdders(self.queue.url, self.queue.prefix, majors))
            self.queue.adder = self._add_with_node
        self.queue.open()
        self.ledger = Ledger(self.owner, OPS_ROLE, self.profile)
        self.ledger.install()
        self.configure()
        if environment.beside is not None:
            self.beside = self._running.enter_context(Beside(environment.beside, self.work_dir, self.config))
        if self.options.watch:
            self.receiver = self._running.enter_context(Receiver(self.work_dir / RECEIVED))
            self.environment.write_config(self.watch_config, channel_url=self.receiver.url)
        if bouncing.missing() is None:
            self.pgbouncer = self._running.enter_context(PgBouncer(self.work_dir, self.ops_url))
        self._running.callback(self.stop_all)
        if self._stop.is_set():
            raise KeyboardInterrupt

    # -- log and configuration ---------------------------------------------------------------------------------

    def say(self, line: str) -> None:
        """Log one line."""
        self.story.append((self.seconds, line))
        self._say(line)

    def configure(self, *, second_database_url: str | None = None) -> None:
        """Write the deployment's configuration; processes started from now on read it."""
        self.environment.write_config(self.config, second_database_url=second_database_url)

    def _add_with_node(self, queue: str, jobs: Sequence[dict[str, Any]]) -> list[str]:
        major, job_ids = self._adders.add(queue, jobs)
        self.ledger.note(ADDED, str(major))
        return job_ids

    def connect(self) -> Platform:
        """The platform as campaign_ops sees it, under its role. The caller closes it."""
        return connect(load_settings(self.config).platform(PLATFORM))

    def sent_but_unwritten(self) -> list[str]:
        """Ids of recipients that were sent to but whose rows do not say so."""
        table, words = self.application.tables.recipient, self.profile.recipient.words
        own = sa.cast(table.c.id, sa.Text)
        sent = sa.exists().where(provider_send.c.recipient_id == own)
        unwritten = (table.c.status.in_(words.pending), table.c.provider_id.is_(None))
        with self.owner.connect() as connection:
            return list(connection.scalars(sa.select(own).where(sent, *unwritten).order_by(own)))

    def live_recipients(self, *states: str) -> set[str]:
        """Recipients of all live jobs, or of those in some states, including jobs that will fail when taken."""
        assert self.profile.queue is not None
        ids = [job_id for state in states for job_id in self.queue.job_ids(state)]
        jobs = (self.queue.job_data(job_id) for job_id in (ids if states else self.queue.live_job_ids()))
        return {str(recipient) for job in jobs for recipient in job.get(self.profile.queue.recipients_key, ())}

    # -- Redis that loses data ---------------------------------------------------------------------------------

    def save_redis(self) -> Path:
        """Save the embedded Redis's current data, for ``restart_redis``. Returns the file."""
        assert self.servers is not None
        path = self.work_dir / f"redis-{next(self._saved)}.rdb"
        before = self.live_recipients()
        self.servers.redis.save(path)
        covered = sorted(before | self.live_recipients())
        path.with_suffix(".json").write_text(json.dumps(covered), encoding="utf-8")
        return path

    def restart_redis(self, data: Path | None = None, *, down_seconds: float = 1.0) -> None:
        """Kill the embedded Redis and restart it, empty or with ``data``. The ledger notes what that excuses."""
        assert self.servers is not None
        with self.redis_in_use:
            self._restart_redis(data, down_seconds)

    def _restart_redis(self, data: Path | None, down_seconds: float) -> None:
        assert self.servers is not None
        self.servers.redis.kill()
        # A worker that wrote its claim just before the kill may still be sending.
        time.sleep(max(0.5, down_seconds))
        self._patiently(lambda: self._note_loss(EMPTIED if data is None else "Redis went back to old data"))
        self.servers.redis.start(data)
        if data is not None:
            covered = set(json.loads(data.with_suffix(".json").read_text(encoding="utf-8")))
            covered |= self._patiently(self.live_recipients)
            self._patiently(lambda: self.ledger.note_restored(sorted(covered)))

    def _note_loss(self, what: str) -> None:
        self.ledger.note_unknowable(self.sent_but_unwritten())
        self.ledger.note(REDIS_LOSS, what)

    # -- restoring ---------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Bring everything back to its ordinary state. Idempotent.

        Starts servers, resumes the queue and paused campaigns, replaces hung workers, and runs the watcher and ordinary
        sweepers with the ordinary configuration.
        """
        if self.servers is not None:
            self.servers.postgres.start()
            if self.servers.redis.pid is None:
                self.restart_redis()
        self._patiently(self.queue.resume)
        self._patiently(self._resume_campaigns)
        if self.pgbouncer is not None:
            self.pgbouncer.start()
        self.configure()
        self.replace_abnormal()

    def _resume_campaigns(self) -> None:
        """Set the status only: their jobs are gone, and finding that out is the sweep's task."""
        table, words = self.writer.tables.campaign, self.profile.campaign.words
        moment = sa.func.timezone("utc", sa.func.now())
        statement = table.update().where(table.c.status == "paused").values(status=words.sending, updated_at=moment)
        with self.owner.begin() as connection:
            connection.execute(statement)

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do it, and retry while a server is unavailable.

        Raises:
            DatabaseUnavailable: It still is after a minute.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return work()
            except _AWAY as error:
                if time.monotonic() > deadline:
                    raise DatabaseUnavailable(
                        f"a server stayed unavailable: {str(error).splitlines()[0]}", where="drill", mend="see its log"
                    ) from error
                time.sleep(0.1)

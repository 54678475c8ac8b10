"""The watcher: real platforms, a real webhook, a real process. People hear of each cause once, and of its end."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tenacity
from pydantic import SecretStr

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.bullmq.queue_group import open_queue
from campaign_ops.core.causes import Cause
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.incidents import Rules
from campaign_ops.core.policy import Policy
from campaign_ops.faces.cli.watch import watch_until_stopped
from campaign_ops.journal.queue_looks import QueueLooks
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.watch.channels import Notify
from campaign_ops.watch.dagster import Dagster
from campaign_ops.watch.watcher import Seen, Watch, Watched, Watcher
from tests.conftest import World, Worlds
from tests.faces.cli.program import PROGRAM, configured
from tests.lab.waiting import wait_until
from tests.watch.looking import open_causes
from tests.watch.receivers import Received, webhook

HASTY = Rules(same_look_seconds=0)


@pytest.fixture
def hook() -> Iterator[Received]:
    with webhook() as received:
        yield received


@pytest.fixture(autouse=True)
def log_of_this_process() -> Iterator[None]:
    """As it was: a command that was run here would go on writing to a stream that is closed."""
    ours = logging.getLogger("campaign_ops")
    handlers, propagate, level = ours.handlers, ours.propagate, ours.level
    yield
    ours.handlers, ours.propagate = handlers, propagate
    ours.setLevel(level)


@pytest.fixture
def no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away is tried again at once: three tries took 3 s of each look."""
    monkeypatch.setattr(tenacity, "wait_exponential_jitter", lambda **_: tenacity.wait_none())


def watched(world: World, name: str = "sms") -> Watched:
    return Watched(name, world.again)


def watcher(*platforms: Watched, hook: Received | None = None, dead_man_url: str = "") -> Watcher:
    channels = (hook.channel(),) if hook is not None else ()
    url = SecretStr(dead_man_url) if dead_man_url else None
    return Watcher(Watch(platforms, Notify(channels=channels), dead_man_url=url), HASTY)


def ticks(watching: Watcher, times: int) -> list[Seen]:
    return [seen for _ in range(times) for seen in watching.tick()]


@contextmanager
def calls() -> Iterator[tuple[str, list[str]]]:
    """An address that counts who calls it."""
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/ping/secret", called
        server.shutdown()


class Comes:
    """A platform's database that is away until it is ``there``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.there = False

    def connect(self) -> Platform:
        platform = self._world.again()
        if not self.there:
            platform.database = Database("postgresql+psycopg://nobody@127.0.0.1:1/away", Timeouts(connect_seconds=1))
        return platform


class Babbler(socketserver.BaseRequestHandler):
    """Answers anything with a line that is no HTTP."""

    def handle(self) -> None:
        self.request.recv(65_536)
        self.request.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_a_healthy_platform_is_looked_at_in_silence(sms: World, hook: Received) -> None:
    sms.sweep()
    seen = ticks(watcher(watched(sms), hook=hook), 5)
    assert all(platform.fresh and not platform.causes and not platform.error for platform in seen)
    assert hook.messages == []
    assert sms.rows("SELECT cause FROM campaign_ops.incident") == []


def test_the_cause_is_sent_once_and_its_end_once(sms: World, hook: Received) -> None:
    sms.app.add_campaign("lost", pending=3, updated_ago=hours(2))
    sms.sweep()
    sms.rows("UPDATE campaign_ops.sweep SET finished_at = now() - interval '2 hours' RETURNING id")
    watching = watcher(watched(sms), hook=hook)
    ticks(watching, 6)
    stale = [subject for subject in hook.subjects if "no sweep has finished" in subject]
    assert len(stale) == 1
    sms.sweep()
    ticks(watching, 4)
    assert [subject for subject in hook.subjects if "resolved" in subject and "no sweep" in subject] != []
    assert Cause.SWEEP_STALE.value not in open_causes(sms)


def test_two_watchers_send_each_change_once(sms: World, hook: Received) -> None:
    sms.sweep()
    sms.rows("UPDATE campaign_ops.sweep SET finished_at = now() - interval '2 hours' RETURNING id")
    both = [watcher(watched(sms), hook=hook) for _ in range(2)]
    threads = [threading.Thread(target=ticks, args=(one, 5)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hook.messages) == 1
    assert open_causes(sms) == [Cause.SWEEP_STALE.value]


@pytest.mark.usefixtures("no_back_off")
def test_a_platform_whose_database_is_away_is_told_without_it(sms: World, hook: Received) -> None:
    """Nothing can be written there: the watcher remembers by itself, tells once, and tells the end."""
    sms.sweep()
    database = Comes(sms)
    watching = watcher(Watched("sms", database.connect), hook=hook)
    seen = ticks(watching, 4)
    assert all(platform.causes == (Cause.DATABASE_AWAY,) and not platform.fresh for platform in seen)
    assert len(hook.messages) == 1
    assert "the database is away" in hook.subjects[0]
    database.there = True
    ticks(watching, 4)
    assert len(hook.messages) == 2
    assert "resolved" in hook.subjects[1]


@pytest.mark.usefixtures("no_back_off")
def test_a_database_that_is_away_is_asked_once_in_a_look_and_each_look_is_a_sign_of_life(sms: World) -> None:
    """It was asked nine times, which took 40 s where packets are dropped. With 60 platforms on such a host, a look at
    all of them took longer than the 300 s of the health check: the watcher was restarted before its second look.
    """
    sms.sweep()
    asked, signs = [], []

    class Hangup(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hangup) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"postgresql+psycopg://nobody@127.0.0.1:{server.server_address[1]}/away"

        def connect() -> Platform:
            platform = sms.again()
            platform.database = Database(address, Timeouts(connect_seconds=1))
            return platform

        seen = watcher(Watched("dark", connect), watched(sms)).tick(lambda: signs.append(1))
        server.shutdown()
    assert [platform.causes for platform in seen] == [(Cause.DATABASE_AWAY,), ()]
    assert len(asked) <= 3, "once, with the retries of each transaction"
    assert len(signs) == 2


@pytest.mark.usefixtures("no_back_off")
def test_a_message_without_the_database_is_tried_again_until_the_channel_takes_it(sms: World, hook: Received) -> None:
    """One error of the channel, and the database was away for four hours without a word."""
    sms.sweep()
    database = Comes(sms)
    watching = watcher(Watched("sms", database.connect), hook=hook)
    hook.status = 503
    ticks(watching, 3)
    hook.status = 200
    ticks(watching, 2)
    assert ["the database is away" in subject for subject in hook.subjects] == [True]
    hook.status, database.there = 503, True
    ticks(watching, 3)
    hook.status = 200
    ticks(watching, 2)
    assert ["resolved" in subject for subject in hook.subjects] == [False, True]


@pytest.mark.usefixtures("no_back_off")
def test_a_database_that_is_away_is_noticed_where_the_names_of_the_queues_come_from_it(sms: World) -> None:
    """The look failed as a whole: no incident was opened, and the dead man's switch was called."""
    profile = sms.platform.profile
    assert profile.queue is not None
    for_tenants = profile.queue.model_copy(update={"name": "sms-{tenant}"})

    def connect() -> Platform:
        database = Database("postgresql+psycopg://nobody@127.0.0.1:1/away", Timeouts(connect_seconds=1))
        queue = open_queue(QueueAddress(sms.queue_url or "", sms.queue.prefix), for_tenants)
        return Platform("sms", profile.model_copy(update={"queue": for_tenants}), Policy(), database, queue)

    with calls() as (url, paths):
        (seen,) = ticks(watcher(Watched("sms", connect), dead_man_url=url), 1)
    assert seen.causes == (Cause.DATABASE_AWAY,)
    assert not paths


@pytest.mark.usefixtures("no_back_off")
def test_what_is_told_without_the_database_is_remembered_between_looks_that_follow_at_once(
    sms: World, hook: Received
) -> None:
    """A tick that took long is followed by the next at once: that one was no look of its own, and the incident was
    forgotten. Its end was never told, and its next minute was told as a new one.
    """
    sms.sweep()
    there = False

    def connect() -> Platform:
        platform = sms.again()
        if not there:
            platform.database = Database("postgresql+psycopg://nobody@127.0.0.1:1/away", Timeouts(connect_seconds=1))
        return platform

    watching = watcher(Watched("sms", connect), hook=hook)
    ticks(watching, 2)
    there = True
    watching.rules = Rules(same_look_seconds=3_600)
    ticks(watching, 1)
    watching.rules = HASTY
    ticks(watching, 3)
    assert [("resolved" in subject) for subject in hook.subjects] == [False, True]
    there = False
    ticks(watching, 2)
    assert "again: the database is away" in hook.subjects[2]


def test_a_broken_entry_is_told_and_does_not_stop_the_others(sms: World, hook: Received) -> None:
    sms.sweep()

    def broken() -> Platform:
        raise ConfigurationError("no such key", where="campaign_ops.yaml:7")

    seen = ticks(watcher(Watched("broken", broken), watched(sms), hook=hook), 3)
    assert [platform.causes for platform in seen[-2:]] == [(Cause.CONFIGURATION_BROKEN,), ()]
    assert len(hook.messages) == 1
    assert "broken: the configuration is broken" in hook.subjects[0]


def test_a_surprise_on_one_platform_is_logged_and_the_watch_goes_on(
    sms: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "campaign_ops")
    sms.sweep()

    def surprising() -> Platform:
        raise RuntimeError("a bug")

    seen = watcher(Watched("odd", surprising), watched(sms)).tick()
    assert [(platform.platform, platform.error) for platform in seen] == [("odd", "the look failed"), ("sms", "")]
    assert [platform.fresh for platform in seen] == [False, True]
    assert "a bug" in caplog.text
    assert "1 wrong" in caplog.text, "the line of each look said that nothing was"


def test_a_redis_outage_over_many_campaigns_is_one_incident(
    worlds: Worlds, hook: Received, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, an error of Redis named neither platform nor queue, only the port."""
    caplog.set_level(logging.INFO, "campaign_ops")
    world = worlds.make("sms")
    for number in range(30):
        world.app.add_campaign(f"c{number}", pending=1, updated_ago=hours(2))

    def connect() -> Platform:
        platform = world.again()
        assert platform.queue is not None
        platform.queue = Queue(QueueAddress("redis://127.0.0.1:1/0"), platform.queue.profile)
        return platform

    world.platform = connect()
    world.created.append(world.platform)
    world.sweep()
    ticks(watcher(Watched("sms", connect), hook=hook), 4)
    assert open_causes(world) == [Cause.QUEUE_UNREADABLE.value]
    assert len(hook.messages) == 1
    assert "sms: queue_unreadable: Redis 127.0.0.1:1/0, queue bull:sms-send: " in caplog.text
    assert "Redis 127.0.0.1:1/0, queue bull:sms-send: ConnectionError: Error 111" in caplog.text


def test_what_is_seen_of_the_queue_and_its_workers_is_kept(sms: World) -> None:
    sms.sweep()
    before = sms.rows("SELECT seen_at FROM campaign_ops.queue_look")[0]["seen_at"]
    sms.queue.add("c", "shop_north", ["r1"], batch_size=1)
    watcher(watched(sms)).tick()
    (look,) = sms.platform.database.run(QueueLooks(sms.platform.profile.tables_key).last)
    assert look.depth == 1
    assert look.seen_at > before


def test_workers_that_restart_again_and_again_are_an_incident(sms: World, hook: Received) -> None:
    sms.sweep()
    sms.rows(
        "INSERT INTO campaign_ops.worker SELECT binding.tables, 'sms-send', 's', n, '', '', now(), now(), now(), true"
        " FROM campaign_ops.binding, generate_series(1, 6) AS n RETURNING client_id"
    )
    ticks(watcher(watched(sms), hook=hook), 3)
    assert open_causes(sms) == [Cause.WORKERS_RESTARTING.value]
    assert "workers restart again and again" in hook.subjects[0]


@pytest.mark.parametrize(("age", "called"), [("1 minute", 2), ("40 minutes", 0)])
def test_the_dead_mans_switch_is_called_only_while_sweeps_are_fresh(sms: World, age: str, called: int) -> None:
    sms.sweep()
    sms.rows(f"UPDATE campaign_ops.sweep SET finished_at = now() - interval '{age}' RETURNING id")
    with calls() as (url, paths):
        ticks(watcher(watched(sms), dead_man_url=url), 2)
    assert len(paths) == called


def test_a_sweep_is_too_old_by_the_schedule_of_its_platform(sms: World, hook: Received) -> None:
    """A platform that is swept every hour had a critical incident, and no call of the switch, half of each hour."""
    sms.sweep()
    slow = Watched("sms", sms.again, schedule="0 * * * *")
    for age, subjects in (("119 minutes", []), ("4 hours", ["[critical] sms: no sweep has finished for too long"])):
        sms.rows(f"UPDATE campaign_ops.sweep SET finished_at = now() - interval '{age}' RETURNING id")
        with calls() as (url, paths):
            (seen,) = ticks(watcher(slow, hook=hook, dead_man_url=url), 1)
        assert (seen.fresh, bool(paths), hook.subjects) == (not subjects, not subjects, subjects)


def test_an_address_where_something_else_answers_does_not_end_the_watcher(
    sms: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that is no HTTP, as from a port of another service, is no OSError: the process ended with it."""
    sms.sweep()
    with socketserver.TCPServer(("127.0.0.1", 0), Babbler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        watch = Watch((watched(sms),), dagster=Dagster(address), dead_man_url=SecretStr(f"{address}/ping/secret"))
        (seen,) = Watcher(watch, HASTY).tick()
        assert Dagster(address).launch("sms", "ada") is None
        server.shutdown()
    assert seen.fresh
    assert "the dead man's switch did not answer: BadStatusLine" in caplog.text
    assert "Dagster's webserver did not answer as expected: BadStatusLine" in caplog.text
    assert "secret" not in caplog.text


def test_an_answer_of_another_shape_does_not_end_the_watcher(sms: World) -> None:
    """A proxy, or another service behind the address, may answer in JSON: the process ended with an AttributeError."""
    daemons: dict[str, object] = {"instance": {"daemonHealth": {"allDaemonStatuses": []}}}
    sms.sweep()
    odd: tuple[object, ...] = (None, [], "no")
    for runs in odd:
        with answering({"data": {**daemons, "runsOrError": runs, "repositoriesOrError": runs}}) as url:
            (seen,) = Watcher(Watch((watched(sms),), dagster=Dagster(url)), HASTY).tick()
            assert Dagster(url).launch("sms", "ada") is None
        assert seen.fresh


@contextmanager
def answering(document: object) -> Iterator[str]:
    """An address that answers each POST with a document."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_switch_that_does_not_answer_stops_nothing_and_is_not_shown(
    sms: World, caplog: pytest.LogCaptureFixture
) -> None:
    sms.sweep()
    seen = watcher(watched(sms), dead_man_url="http://127.0.0.1:1/ping/secret").tick()
    assert seen[0].fresh
    assert "did not answer" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.slow
def test_the_process_watches_until_sigterm_and_logs_json(sms: World, hook: Received, tmp_path: Path) -> None:
    sms.sweep()
    sms.rows("UPDATE campaign_ops.sweep SET finished_at = now() - interval '2 hours' RETURNING id")
    program = configured(tmp_path, sms)
    text = program.config.read_text()
    program.config.write_text(f"{text}\nnotify: {{channels: [{{name: oncall, url: '{hook.url}'}}]}}\n")
    command = [*PROGRAM, "watch", "--config", str(program.config), "--every", "1", "--log-format", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        wait_until(lambda: bool(hook.messages))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert process.returncode == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert {"at", "level", "logger", "message"} <= lines[0].keys()
    assert any("incident" in line["message"] and "opened" in line["message"] for line in lines)
    assert "hunter2" not in said


@pytest.mark.slow
def test_the_heartbeat_says_whether_the_watcher_still_looks(sms: World, tmp_path: Path) -> None:
    """The check of a container engine: a watcher that hangs is alive for it as long as its process is."""
    beat = tmp_path / "beat"
    words = configured(tmp_path, sms).started("watch", "--every", "1", "--heartbeat", beat)
    probe = [sys.executable, "-m", "campaign_ops.faces.probe", str(beat)]
    assert "No such file" in subprocess.run(probe, capture_output=True, text=True, check=False).stderr
    with subprocess.Popen(words, stderr=subprocess.PIPE, env={**os.environ}) as process:
        wait_until(beat.exists)
        os.utime(beat, (0, 0))
        wait_until(lambda: beat.stat().st_mtime > 0)
        assert subprocess.run(probe, check=False).returncode == 0
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: ") T " in Path(f"/proc/{process.pid}/stat").read_text())
        os.utime(beat, (0, 0))
        hung = subprocess.run(probe, capture_output=True, text=True, check=False)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.communicate()
    assert process.returncode == 0
    assert hung.returncode == 1
    assert "touched" in hung.stderr


def test_a_heartbeat_that_cannot_be_written_is_refused_at_the_start(sms: World, tmp_path: Path) -> None:
    result = configured(tmp_path, sms)("watch", "--heartbeat", tmp_path / "none" / "beat")
    assert result.exit_code == 2
    assert "--heartbeat" in result.stderr


def test_a_heartbeat_that_can_no_longer_be_written_does_not_end_the_watch(
    sms: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory that was cleaned up ended the process, and with it the watch over all platforms."""
    beat, looks = tmp_path / "beats" / "beat", []
    beat.parent.mkdir()

    def connect() -> Platform:
        looks.append(1)
        shutil.rmtree(beat.parent, ignore_errors=True)
        if len(looks) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return sms.again()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        watch_until_stopped(watcher(Watched("sms", connect)), 0, beat)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert len(looks) == 2
    assert f"--heartbeat {beat}: cannot be written" in caplog.text


@pytest.mark.parametrize(("age", "code"), [("1 minute", 0), ("2 hours", 5)])
def test_one_look_for_cron_tells_by_its_exit_code(sms: World, tmp_path: Path, age: str, code: int) -> None:
    sms.sweep()
    sms.rows(f"UPDATE campaign_ops.sweep SET finished_at = now() - interval '{age}' RETURNING id")
    beat = tmp_path / "beat"
    assert configured(tmp_path, sms)("watch", "--once", "--heartbeat", beat).exit_code == code
    assert beat.exists()


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ("[]", "no channel is configured: incidents are recorded, and nobody is notified"),
        ("[{name: oncall, url: '${NO_SUCH_VARIABLE}'}]", "notify.channels[0].url"),
    ],
)
def test_a_watcher_without_a_channel_says_so(sms: World, tmp_path: Path, channels: str, said: str) -> None:
    """It watched in silence: a variable that its environment lacks had taken the only channel away."""
    program = configured(tmp_path, sms)
    program.config.write_text(f"{program.config.read_text()}\nnotify: {{channels: {channels}}}\n")
    assert said in program("watch", "--once").stderr


def test_an_address_that_is_none_is_told_without_showing_it(
    sms: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMPAIGN_OPS_DEAD_MAN_URL", "secret-token")
    result = configured(tmp_path, sms)("watch", "--once")
    assert result.exit_code == 2
    assert "CAMPAIGN_OPS_DEAD_MAN_URL: holds no address" in result.stderr
    assert "secret-token" not in result.stderr

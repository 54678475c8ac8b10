"""SIGTERM to a sweep: systemd, a container engine and Kubernetes all stop a process so."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_ops.faces.cli import program
from campaign_ops.faces.cli.stopping import Terminated
from tests.conftest import World
from tests.faces.cli.program import configured, entry, environ, one_line, run
from tests.lab.waiting import wait_until

OPEN = "SELECT wait_event_type AS waits FROM pg_stat_activity WHERE application_name LIKE :name"


@contextmanager
def table_locked(world: World, table: str) -> Iterator[None]:
    """Another program holds a table: it can be read and not written."""
    engine = sa.create_engine(world.url)
    with engine.begin() as connection:
        connection.execute(sa.text(f'LOCK TABLE "{table}" IN SHARE MODE'))
        yield
    engine.dispose()


def waits_for_a_lock(world: World, pid: int) -> bool:
    return any(row["waits"] == "Lock" for row in world.rows(OPEN, name=f"campaign_ops%:{pid}"))


def test_sigterm_ends_the_statement_gives_the_lock_back_and_leaves_no_half_of_a_repair(
    sms: World, tmp_path: Path
) -> None:
    """The process used to die where it was: PostgreSQL went on with its statement for up to a minute.

    As the first process of a container it did not even die: the kernel keeps a signal without a handler from it.
    """
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_reservation("held", campaign="done")
    words = configured(tmp_path, entry(sms, timeouts={"lock_seconds": 60})).started("reconcile")
    with table_locked(sms, "CreditReservation"):
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environ({})) as process:
            wait_until(lambda: waits_for_a_lock(sms, process.pid))
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate()
        assert process.returncode == 143
        assert one_line(stderr).startswith("error: terminated (SIGTERM); what was done stands")
        with sms.again().lock(wait_seconds=0).hold():
            assert sms.rows(OPEN, name=f"campaign_ops%:{process.pid}") == []
    assert sms.app.campaign("done")["status"] == "sending"
    assert sms.rows("SELECT kind FROM campaign_ops.repair") == []
    sms.sweep()
    assert sms.app.campaign("done")["status"] == "sent"
    assert [row["kind"] for row in sms.rows("SELECT kind FROM campaign_ops.repair ORDER BY 1")] == [
        "complete",
        "release",
    ]


def test_the_statement_of_a_sweep_that_is_killed_ends_too(sms: World, tmp_path: Path) -> None:
    """And so does that of a run that is terminated in Dagster, where psycopg cancels nothing: both went on for 60 s."""
    sms.app.add_campaign("done", succeeded=3)
    words = configured(tmp_path, entry(sms, timeouts={"lock_seconds": 60})).started("reconcile")
    with table_locked(sms, "Campaign"):
        with subprocess.Popen(words, stderr=subprocess.PIPE, env=environ({})) as process:
            wait_until(lambda: waits_for_a_lock(sms, process.pid))
            process.kill()
        wait_until(lambda: sms.rows(OPEN, name=f"campaign_ops%:{process.pid}") == [])
    assert sms.app.campaign("done")["status"] == "sending"


def test_a_signal_while_a_command_is_loaded_has_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM in the first second, while modules are imported, exited with 130, silently."""
    hidden = RuntimeError("Error calling __set_name__")
    hidden.__cause__ = KeyboardInterrupt()
    for stop, code in ((Terminated(), 143), (KeyboardInterrupt(), 130), (hidden, 130)):

        def _stopped(_: str, stop: BaseException = stop) -> None:
            raise stop

        monkeypatch.setattr(program, "load", _stopped)
        result = run("plan")
        assert result.exit_code == code
        assert "nothing was done" in result.stderr


def test_a_signal_while_the_program_itself_is_loaded_shows_no_traceback() -> None:
    """Ctrl-C in the first tenth of a second."""
    interrupting = (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from campaign_ops.faces.cli import main"
    )
    ended = subprocess.run([sys.executable, "-c", interrupting], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "error: interrupted; nothing was done\n")

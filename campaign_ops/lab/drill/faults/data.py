"""Faults of the data: lost status writes, rows that cannot be updated, unknown statuses, jobs without effect."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis
import sqlalchemy as sa

from campaign_ops.doctor.grants import literal
from campaign_ops.lab.drill.faults.base import SCHEMA, Fault, NotYet, define, qualified
from campaign_ops.lab.drill.workload import Workload

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig

UNKNOWN_WORD = "bounced"
_LATE_CAMPAIGNS = 6


def _send_all(rig: Rig, label: str) -> int:
    """Send to a campaign's recipients in this process, as a worker does, but do not write the campaign's status."""
    recipients, campaign = rig.writer.pending_ids(label), rig.writer.id(label)
    for recipient in recipients:
        rig.application.write_answer(recipient, rig.provider.send(recipient, campaign, "in process"))
    return len(recipients)


class LoseCompletion(Fault):
    """Campaigns end, but their process dies before it writes their status and frees their credits."""

    name = "lose_completion"
    title = "a campaign is sent, and one fails altogether, but their completion is lost"

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Send one campaign to its last recipient, let all recipients of another fail, and stop there."""
        workload = Workload(rig)
        sent, failed = workload.label(self.name, rng), workload.label(self.name, rng)
        for label in (sent, failed):
            workload.write(label, rng.randint(3, 15), rng.choice(workload.tenants))
        number = rig.writer.move_recipients(failed, "failed")
        return (
            f"{sent} was sent to all {_send_all(rig, sent)}, and all {number} recipients of {failed} failed, but their"
            " process died before it wrote the status"
        )


class LateChange(Fault):
    """Finished campaigns get more recipients, or are cancelled, at the moment when a sweep completes them."""

    name = "late_change"
    title = "finished campaigns get more recipients or are cancelled while sweeps complete them"
    duration_seconds = (5.0, 6.0)

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Send whole campaigns, and change each when it has just become stuck."""
        if self._thread is not None:
            return "already in progress"
        workload, changes = Workload(rig), []
        for _ in range(_LATE_CAMPAIGNS):
            label = workload.label(self.name, rng)
            workload.write(label, rng.randint(2, 5), rng.choice(workload.tenants))
            _send_all(rig, label)
            after = rig.platform.thresholds["stuck_after_seconds"] + rng.uniform(0, 1.2)
            changes.append((time.monotonic() + after, label, rng.randint(1, 10) * (rng.random() < 0.5)))
            time.sleep(0.3)  # spread out, so that the breaker does not trip
        self._thread = threading.Thread(target=self._change, args=(workload, changes), daemon=True)
        self._thread.start()
        return f"{len(changes)} campaigns look finished; each is changed when it has just become stuck"

    def _change(self, workload: Workload, changes: Sequence[tuple[float, str, int]]) -> None:
        for at, label, recipients in sorted(changes):
            time.sleep(max(0.0, at - time.monotonic()))
            with contextlib.suppress(sa.exc.SQLAlchemyError, redis.RedisError, OSError):
                workload.extend(label, recipients) if recipients else workload.abort(label)

    def end(self, rig: Rig) -> None:  # noqa: ARG002
        """Wait until all are changed."""
        if self._thread is not None and self._thread.is_alive():
            raise NotYet("not all of the campaigns have been changed")


class PoisonCampaign(Fault):
    """One campaign's row cannot be completed: a trigger of the application refuses it. Others must not be affected."""

    name = "poison_campaign"
    title = "one campaign's row cannot be completed, among others that can"
    duration_seconds = (8.0, 12.0)

    def __init__(self) -> None:
        self.label: str | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Send a whole campaign, with a trigger on its row that refuses every other status."""
        workload = Workload(rig)
        self.label = label = workload.label(self.name, rng)
        campaign = rig.writer.tables.campaign
        key, word = (f'NEW."{campaign.c[name].name}"' for name in ("id", "status"))
        is_it = f"{key} = {literal(rig.writer.id(label))}"
        define(
            rig,
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
            " 'this campaign may not end' USING ERRCODE = '23514'; END $$",
            f"CREATE OR REPLACE TRIGGER {_trigger(label)} BEFORE UPDATE ON {qualified(campaign)} FOR EACH ROW WHEN"
            f" ({is_it} AND {word} <> {literal(workload.sending)}) EXECUTE FUNCTION {SCHEMA}.poison()",
        )
        workload.write(label, rng.randint(3, 10), rng.choice(workload.tenants))
        _send_all(rig, label)
        return f"{label} was sent, and its row refuses to be completed"

    def end(self, rig: Rig) -> None:
        """Drop the trigger; the next sweep completes the campaign."""
        if self.label is not None:
            table = qualified(rig.writer.tables.campaign)
            define(rig, f"DROP TRIGGER IF EXISTS {_trigger(self.label)} ON {table}")


def _trigger(label: str) -> str:
    return f"drill_{label}"


class UnknownWord(Fault):
    """A new version writes a status that the profile does not know. Only a person can say what it means: it stays."""

    name = "unknown_word"
    title = "a recipient gets an unknown status"

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Write a campaign with one pending recipient and one in the unknown status."""
        workload = Workload(rig)
        label = workload.label(self.name, rng)
        if not rig.writer.exists(label):
            rig.writer.add_campaign(label, tenant=rng.choice(workload.tenants), pending=1, words={UNKNOWN_WORD: 1})
            rig.writer.set_campaign(label)
            rig.writer.add_reservation(f"res_{label}", campaign=label, amount=2)
        return f"a recipient of {label} is {UNKNOWN_WORD!r}, a status that the profile does not know"


class Unsendable(Fault):
    """A bug of the application: each job of one campaign ends at once and sends nothing. It must end in quarantine."""

    name = "unsendable"
    title = "all jobs of one campaign vanish, however often it is re-enqueued"

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Start a campaign whose jobs every worker drops."""
        workload = Workload(rig)
        label = workload.label(self.name, rng)
        jobs = workload.start(label, rng.randint(5, 40), rng.choice(workload.tenants))
        return f"the workers drop every job of {label}, starting with the first {len(jobs)}"

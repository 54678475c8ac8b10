"""The application of the platform beside: it sends in process, inserts a recipient's row when sent, and counts.

Each campaign leads one of the lives below, most of which end in a fault of such applications. Which recipients are
still to be sent to is known to its plan alone. The ledger has a note about it: ``PLANNED`` before each run, and
``SENT_OUT`` when the last recipient has been sent to and its row is about to be written.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import Counters
from campaign_ops.lab.drill.ledger import PLANNED, SENT_OUT, Ledger
from campaign_ops.lab.shop.application import Application
from campaign_ops.lab.shop.provider import Answer, share_of
from campaign_ops.lab.shop.queues import TENANTS
from campaign_ops.lab.shop.row_writer import PRISMA, PlatformShape, RowWriter

_SENDING, _DONE, _PAUSED, _CANCELLED = "SENDING", "COMPLETED", "PAUSED", "CANCELLED"
"""Words of the profile ``messenger``."""
_NOW = timedelta(0)
_CONTACTS = (5, 20)
_REJECTED = 0.1
_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError)
_OVER = object()


@dataclass(slots=True)
class Run:
    """One run of a campaign: the number of its contacts, and how many of them have been sent to."""

    campaign: str
    contacts: int
    number: int = 1
    sent: int = 0

    def answer(self, contact: int) -> Answer:
        """The provider's answer for a contact: always the same."""
        name = f"{self.campaign}_{self.number}_{contact}"
        return Answer(None if share_of(name) < _REJECTED else f"msg_{name}")


class CountersApplication(Application):
    """Sends all its campaigns, to one recipient of each in a step.

    Args:
        ledger: The ledger of its platform.
        shape: The types of its columns.
        stuck_after_seconds: The platform's threshold: campaigns pause for about as long, or longer.

    Attributes:
        lives: The campaigns that are not left to themselves yet.
    """

    def __init__(self, ledger: Ledger, shape: PlatformShape = PRISMA, *, stuck_after_seconds: float) -> None:
        super().__init__(ledger.engine, ledger.profile, shape)
        self._ledger = ledger
        self._writer = RowWriter(ledger.engine, ledger.profile, shape)
        self._numbers = itertools.count(1)
        self._stuck_after_seconds = stuck_after_seconds
        self.lives: dict[str, Iterator[None]] = {}

    def start(self, which: float) -> str:
        """Start a campaign with the next life; ``which``, from 0 to 1, selects its size and its tenant."""
        number = next(self._numbers)
        fewest, most = _CONTACTS
        run, life = Run(f"cmp_{number}", fewest + int(which * (most - fewest))), LIVES[number % len(LIVES)]
        self.lives[run.campaign] = self.lead(life, run, TENANTS[int(which * 97) % len(TENANTS)])
        return f"campaign {run.campaign}: {run.contacts} recipients, {life.__name__.replace('_', ' ')}"

    def step(self) -> None:
        """Let each campaign do one thing."""
        for campaign, life in list(self.lives.items()):
            if next(life, _OVER) is _OVER:
                del self.lives[campaign]

    def lead(self, life: Life, run: Run, tenant: str) -> Iterator[None]:
        """Begin a run, and do in each step what its life says next."""
        yield from self.surely(self._begin, run, tenant)
        yield from life(self, run)

    def send(self, run: Run, share: float = 1.0, *, counted: bool = True, twice: bool = False) -> Iterator[None]:
        """Send until this share of the contacts has been sent to; with ``twice`` each fails and is tried again."""
        while run.sent < round(run.contacts * share):
            if run.sent == run.contacts - 1:
                yield from self.surely(self._note, SENT_OUT, run)
            for answer in ([Answer(None)] if twice else []) + [run.answer(run.sent)]:
                yield from self.surely(self._write, run, answer, counted=counted)
            run.sent += 1
            yield

    def count(self, run: Run, first: int) -> None:
        """Add the contacts from ``first`` on to the counters. An error ends the life: they must not be added twice."""
        answers = [run.answer(contact).accepted for contact in range(first, run.sent)]
        counters = self.tables.campaign.c
        well, badly = answers.count(True), answers.count(False)
        self._change(run, _SENDING, succeeded=counters.succeeded + well, failed=counters.failed + badly)

    def put(self, run: Run, old: str, new: str) -> Iterator[None]:
        """Let a person replace one status by another. Credits stay as they are."""
        yield from self.surely(self._change, run, old, status=new)

    def lose_rows(self, run: Run) -> Iterator[None]:
        """Delete contacts that were sent to, and their rows with them."""
        table, words = self.tables.recipient, self.profile.recipient.words
        lost = (self._of(run.campaign), table.c.status.in_(words.succeeded), table.c.about <= "contact_1")
        yield from self.surely(self._execute, table.delete().where(*lost))

    def again(self, run: Run) -> Iterator[None]:
        """Send a campaign that is over to the same contacts again; the rows of the last run stay."""
        run.number, run.sent = run.number + 1, 0
        changes = {"status": _SENDING, "started_at": self._ago(_NOW), "succeeded": 0, "failed": 0}
        yield from self.surely(self._note, PLANNED, run)
        yield from self.surely(self._change, run, _DONE, **changes)
        yield from self.surely(self._hold, run)

    def wait(self, times: float) -> Iterator[None]:
        """Do nothing for a multiple of the time after which a campaign is stuck."""
        until = time.monotonic() + times * self._stuck_after_seconds
        while time.monotonic() < until:
            yield

    def surely(self, work: Callable[..., object], *arguments: Any, **options: Any) -> Iterator[None]:
        """Do one thing that may be done twice, in as many steps as it takes while the server is away."""
        while True:
            try:
                work(*arguments, **options)
            except _AWAY:
                yield
            else:
                return

    def _begin(self, run: Run, tenant: str) -> None:
        if not self.exists(run.campaign):
            self._note(PLANNED, run)
            total = Counters(run.contacts, 0, 0)
            self._writer.add_campaign(run.campaign, tenant=tenant, updated_ago=_NOW, started_ago=_NOW, counters=total)
        self._hold(run)

    def _hold(self, run: Run) -> None:
        name = f"res_{run.campaign}_{run.number}"
        if self.id(name) not in [row["id"] for row in self.reservations(run.campaign)]:
            self._writer.add_reservation(name, campaign=run.campaign, amount=run.contacts, created_ago=_NOW)

    def _write(self, run: Run, answer: Answer, *, counted: bool) -> None:
        row = f"{run.campaign}_{run.number}_{run.sent}_{'sent' if answer.accepted else 'failed'}"
        self.insert_answer(run.campaign, row, answer, about=f"contact_{run.sent}", counted=counted)

    def _change(self, run: Run, word: str, **changes: Any) -> None:
        """Change a campaign that has this status."""
        table = self.tables.campaign
        premise = (table.c.id == self.bound(run.campaign), table.c.status == word)
        self._execute(table.update().where(*premise).values({"updated_at": self._ago(_NOW), **changes}))

    def _execute(self, statement: sa.Executable) -> None:
        with self.engine.begin() as connection:
            connection.execute(statement)

    def _note(self, kind: str, run: Run) -> None:
        self._ledger.note(kind, self.id(run.campaign))


Life = Callable[[CountersApplication, Run], Iterator[None]]


def is_sent_and_never_completed(app: CountersApplication, run: Run) -> Iterator[None]:
    """The application dies after the last recipient."""
    yield from app.send(run)


def stops_half_way(app: CountersApplication, run: Run) -> Iterator[None]:
    """The application dies half way."""
    yield from app.send(run, 0.5)


def counts_too_little(app: CountersApplication, run: Run) -> Iterator[None]:
    """From some recipient on, nothing is counted; then the application dies."""
    yield from app.send(run, 0.6)
    yield from app.send(run, counted=False)


def is_paused_when_sent(app: CountersApplication, run: Run) -> Iterator[None]:
    """A person pauses it about when it looks stuck, and resumes it later."""
    yield from app.send(run)
    yield from app.wait(0.95 + 0.2 * share_of(run.campaign))
    yield from app.put(run, _SENDING, _PAUSED)
    yield from app.wait(1.5)
    yield from app.put(run, _PAUSED, _SENDING)


def counts_late(app: CountersApplication, run: Run) -> Iterator[None]:
    """Rows are counted only after a long pause, and the last recipients are sent to after another one."""
    yield from app.send(run, 0.4)
    first = run.sent
    yield from app.send(run, 0.8, counted=False)
    yield from app.wait(1.5)
    app.count(run, first)
    yield from app.wait(1.5)
    yield from app.send(run)


def is_sent_again(app: CountersApplication, run: Run) -> Iterator[None]:
    """A campaign that was completed is sent again; then the application dies."""
    yield from is_completed(app, run)
    yield from app.again(run)
    yield from app.send(run)


def is_sent_again_in_part(app: CountersApplication, run: Run) -> Iterator[None]:
    """A campaign that was completed is sent again, and the application dies half way."""
    yield from is_completed(app, run)
    yield from app.again(run)
    yield from app.send(run, 0.5)


def loses_rows(app: CountersApplication, run: Run) -> Iterator[None]:
    """Contacts that were sent to are deleted, and the application dies."""
    yield from app.send(run)
    yield from app.lose_rows(run)


def counts_every_try(app: CountersApplication, run: Run) -> Iterator[None]:
    """Every recipient fails at first: the counters reach the total when little more than half have been sent to."""
    yield from app.send(run, 0.6, twice=True)


def is_cancelled(app: CountersApplication, run: Run) -> Iterator[None]:
    """A person cancels it half way, and its credits stay held."""
    yield from app.send(run, 0.5)
    yield from app.put(run, _SENDING, _CANCELLED)


def is_completed(app: CountersApplication, run: Run) -> Iterator[None]:
    """Nothing goes wrong."""
    yield from app.send(run)
    yield from app.surely(app.complete, run.campaign)


LIVES: tuple[Life, ...] = (
    is_completed,
    is_sent_and_never_completed,
    stops_half_way,
    counts_too_little,
    is_paused_when_sent,
    counts_late,
    is_sent_again,
    is_sent_again_in_part,
    loses_rows,
    counts_every_try,
    is_cancelled,
)
"""The lives of campaigns, taken in turn."""

"""Executes a script on a rig: the application's events in one thread, the faults in another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from textwrap import shorten

import redis
import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.wording import plural
from campaign_ops.lab.drill.environment.rig import Rig
from campaign_ops.lab.drill.faults import FAULTS, Fault
from campaign_ops.lab.drill.ledger import AGAIN, END, FAULT, MISSED, SETTLING
from campaign_ops.lab.drill.script import Event, feasible_script, rng_of
from campaign_ops.lab.drill.workload import Workload

AWAY = (sa.exc.SQLAlchemyError, redis.RedisError, CampaignOpsError, OSError)
"""Errors that are expected while a server is unavailable."""

CARE_EVERY_SECONDS = 1.0
_ASK_EVERY_SECONDS = 3.0
_TRY_AGAIN_SECONDS = 0.5
_TRIES = 40
_LONGEST_ERROR = 120


@dataclass
class Execution:
    """The execution of one script on one rig.

    Attributes:
        rig: The rig.
        stop: When it is set, no more events are executed.
        enough: Called every few seconds; when it returns true, no more events are executed either.
        satisfied: ``enough`` has returned true.
        faults: Active faults, by their index in the script.
        marked: (index, kind) of the marks already in the ledger.
        late: Indexes of faults that wait for an unavailable server.
        missed: Names of faults that found nothing to harm, or could not be injected.
        skipped: Faults that cannot be injected, and why.
    """

    rig: Rig
    stop: threading.Event
    enough: Callable[[Rig], bool] | None = None
    satisfied: bool = False
    faults: dict[int, Fault] = field(default_factory=dict)
    marked: set[tuple[int, str]] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    missed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def script(self) -> tuple[Event, ...]:
        """The script. Logs each fault that cannot be injected here, or for which the drill is too short.

        Raises:
            ConfigurationError: See ``feasible_script``.
        """
        rig = self.rig
        script, self.skipped = feasible_script(rig.options, lambda fault: fault.unavailable(rig))
        for name, reason in self.skipped.items():
            rig.say(f"SKIPPED: {name} ({FAULTS[name].title}): {reason}")
        names = [event.name for event in script if event.kind == "fault"]
        rig.say(f"{plural(len(names), 'fault')} of {plural(len(set(names)), 'kind')}")
        return script

    def play(self, script: Sequence[Event]) -> None:
        """Execute it. The application's events and the faults do not wait for each other."""
        over = threading.Event()
        own = [event for event in script if event.kind in ("campaign", "person")]
        with ThreadPoolExecutor(max_workers=1) as pool:
            application = pool.submit(self._perform, own, over)
            try:
                self._perform([event for event in script if event not in own], over, care=self._care())
            finally:
                over.set()
            application.result()

    def _perform(
        self, script: Sequence[Event], over: threading.Event, *, care: Callable[[float], bool] | None = None
    ) -> None:
        """Execute each event at its time; retry a little later what fails because a server is unavailable."""
        began = time.monotonic()
        waiting = [(event.at, 1, event) for event in script]
        while not self.stop.is_set() and not over.wait(0.05):
            now = time.monotonic() - began
            due = [entry for entry in waiting if entry[0] <= now]
            waiting = [entry for entry in waiting if entry[0] > now]
            for _, tries, event in due:
                if not self._try(event, tries):
                    waiting.append((now + _TRY_AGAIN_SECONDS, tries + 1, event))
            if care is not None and care(now):
                return
            if now >= self.rig.options.seconds and not waiting:
                return

    def _care(self) -> Callable[[float], bool]:
        """A function of the seconds since the start that replaces dead processes and evaluates ``enough``."""
        care_at, ask_at = 0.0, _ASK_EVERY_SECONDS

        def care(now: float) -> bool:
            nonlocal care_at, ask_at
            if now >= care_at:
                care_at = now + CARE_EVERY_SECONDS
                self.rig.keep_alive()
            if self.enough is not None and now >= ask_at:
                ask_at = now + _ASK_EVERY_SECONDS
                with suppress(*AWAY):
                    self.satisfied = self.enough(self.rig)
            return self.satisfied

        return care

    def _try(self, event: Event, tries: int) -> bool:
        """Execute one event. Returns false if it should be retried, which only faults are."""
        index = event.arguments.get("index", -1)
        if event.kind == "end" and index in self.late:
            return False
        try:
            line = self._execute(event)
        except AWAY as error:
            if index >= 0 and tries < _TRIES:
                self.late |= {index} if event.kind == "fault" else set()
                return False
            line = f"{event.kind} {event.name} failed: {shorten(str(error).splitlines()[0], _LONGEST_ERROR)}"
            if event.kind == "fault":
                self.skipped[event.name] = line
                if (index, FAULT) in self.marked:
                    self.missed.append(event.name)
                line = f"NOT INJECTED: {line}"
        if event.kind == "fault":
            self.late.discard(index)
        if line is not None:
            self.rig.say(line)
        return True

    def _execute(self, event: Event) -> str | None:
        arguments, workload = event.arguments, Workload(self.rig)
        match event.kind:
            case "campaign":
                if workload.is_full():
                    return None
                size, share = arguments["size"], arguments["enqueued"]
                jobs = workload.start(event.name, size, arguments["tenant"], arguments["job_options"], enqueued=share)
                died = f", then the application died: {share:.0%} enqueued" if share < 1 else ""
                return f"campaign {event.name}: {plural(size, 'recipient')} in {plural(len(jobs), 'job')}{died}"
            case "person":
                return self._person(event.name, arguments)
            case "prepare":
                self._fault(event).prepare(self.rig)
                return None
            case "fault":
                self._mark(event, FAULT)
                fault = self._fault(event)
                # The same numbers at each try: a fault that is tried again finds the campaigns that it has started.
                description = fault.inject(self.rig, rng_of(self.rig.options, arguments["index"]))
                if not fault.lasts:
                    self._forget(arguments["index"])
                return f"FAULT {event.name}: {description}"
            case _:
                return self._end(event)

    def _person(self, action: str, arguments: Mapping[str, object]) -> str | None:
        workload, which = Workload(self.rig), float(str(arguments["which"]))
        if action == "cancel":
            return workload.cancel(which, frees_credits=bool(arguments["frees_credits"]))
        act: Callable[[float], str | None] = getattr(workload, action)
        return act(which)

    def _fault(self, event: Event) -> Fault:
        index = event.arguments["index"]
        if index not in self.faults:
            self.faults[index] = FAULTS[event.name]()
        return self.faults[index]

    def _end(self, event: Event) -> str | None:
        fault = self.faults.get(event.arguments["index"])
        if fault is None:  # it was never injected
            return None
        fault.end(self.rig)
        index = event.arguments["index"]
        if (index, FAULT) not in self.marked:  # it was only prepared
            self._forget(index)
            return None
        self._mark(event, END)
        self._forget(index)
        return f"over: {event.name}"

    def _forget(self, index: int) -> None:
        """Remove an ended fault."""
        fault = self.faults.pop(index)
        if fault.missed:
            self.missed.append(fault.name)

    def _mark(self, event: Event, kind: str) -> None:
        """Leave a mark in the ledger: ``kind`` the first time, ``again`` for retries."""
        mark = (event.arguments["index"], kind)
        self.rig.ledger.note(AGAIN if mark in self.marked else kind, event.name)
        self.marked.add(mark)

    def end_all(self) -> None:
        """End all active faults and restore everything."""
        rig = self.rig
        rig.say("no more faults; restoring everything")
        if rig.servers is not None:
            rig.servers.postgres.start()
        for index in sorted(self.faults):
            event = Event(0.0, "end", self.faults[index].name, {"index": index})
            for tries in range(1, _TRIES + 1):
                if self._try(event, tries):
                    break
                time.sleep(_TRY_AGAIN_SECONDS)
        rig.restore()
        for name in self.missed:
            rig.ledger.note(MISSED, name)
        rig.ledger.note(SETTLING, "no more faults")

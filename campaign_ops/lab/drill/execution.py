"""Lets a script happen on a stand: the application's part in one thread, the faults in another."""

from __future__ import annotations

import random
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
"""What is met while servers are away, and passes."""

CARE_EVERY_SECONDS = 1.0
_ASK_EVERY_SECONDS = 3.0
_TRY_AGAIN_SECONDS = 0.5
_TRIES = 40
_LONGEST_ERROR = 120


@dataclass
class Execution:
    """One script on one stand.

    Attributes:
        stand: Where it happens.
        stop: Once it is set, nothing more happens.
        enough: Asked every few seconds; once it is true, nothing more happens either.
        satisfied: It was.
        faults: Those that were begun and are not over, by their index in the script.
        chances: What each of them draws its choices from.
        marked: What stands in the ledger already.
        late: Those that a server that is away keeps from happening.
        missed: Names of those that met nothing, or were tried in vain.
        skipped: Faults that cannot happen, and why.
    """

    rig: Rig
    stop: threading.Event
    enough: Callable[[Rig], bool] | None = None
    satisfied: bool = False
    faults: dict[int, Fault] = field(default_factory=dict)
    rngs: dict[int, random.Random] = field(default_factory=dict)
    marked: set[tuple[int, str]] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    missed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def script(self) -> tuple[Event, ...]:
        """What is going to happen. Says loudly what cannot happen here, or has no time to.

        Raises:
            ConfigurationError: See ``what_can_happen``.
        """
        rig = self.rig
        script, self.skipped = feasible_script(rig.options, lambda fault: fault.unavailable(rig))
        for name, reason in self.skipped.items():
            rig.say(f"CANNOT HAPPEN HERE: {name} ({FAULTS[name].title}): {reason}")
        names = [event.name for event in script if event.kind == "fault"]
        rig.say(f"{plural(len(names), 'fault')} of {plural(len(set(names)), 'kind')}")
        return script

    def play(self, script: Sequence[Event]) -> None:
        """Let it happen. The application and its people do not wait for the faults, nor those for them."""
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
        """Each at its time; what cannot be because a server is away is tried again a little later."""
        began = time.monotonic()
        waiting = [(event.at, 1, event) for event in script]
        while not self.stop.is_set() and not over.wait(0.05):
            now = time.monotonic() - began
            due = [one for one in waiting if one[0] <= now]
            waiting = [one for one in waiting if one[0] > now]
            for _, tries, event in due:
                if not self._happens(event, tries):
                    waiting.append((now + _TRY_AGAIN_SECONDS, tries + 1, event))
            if care is not None and care(now):
                return
            if now >= self.rig.options.seconds and not waiting:
                return

    def _care(self) -> Callable[[float], bool]:
        """Keeps everybody alive, and asks now and then whether it is enough. Takes the seconds since the beginning."""
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

    def _happens(self, event: Event, tries: int) -> bool:
        """Let one thing happen. False when it should be tried again: only faults are so important."""
        index = event.arguments.get("index", -1)
        if event.kind == "end" and index in self.late:
            return False
        try:
            line = self._let_happen(event)
        except AWAY as error:
            if index >= 0 and tries < _TRIES:
                self.late |= {index} if event.kind == "fault" else set()
                return False
            line = f"{event.kind} {event.name} went wrong: {shorten(str(error).splitlines()[0], _LONGEST_ERROR)}"
            if event.kind == "fault":
                self.skipped[event.name] = line
                if (index, FAULT) in self.marked:
                    self.missed.append(event.name)
                line = f"COULD NOT HAPPEN: {line}"
        if event.kind == "fault":
            self.late.discard(index)
        if line is not None:
            self.rig.say(line)
        return True

    def _let_happen(self, event: Event) -> str | None:
        arguments, workload = event.arguments, Workload(self.rig)
        match event.kind:
            case "campaign":
                if workload.is_full():
                    return None
                jobs = workload.start(event.name, arguments["size"], arguments["tenant"], arguments["job_options"])
                return f"campaign {event.name}: {plural(arguments['size'], 'recipient')} in {plural(len(jobs), 'job')}"
            case "person":
                return self._person(event.name, arguments)
            case "prepare":
                self._fault(event).prepare(self.rig)
                return None
            case "fault":
                self._mark(event, FAULT)
                fault = self._fault(event)
                done = fault.inject(self.rig, self.rngs[arguments["index"]])
                if not fault.lasts:
                    self._forget(arguments["index"])
                return f"FAULT {event.name}: {done}"
            case _:
                return self._end(event)

    def _person(self, does: str, arguments: Mapping[str, object]) -> str | None:
        workload, which = Workload(self.rig), float(str(arguments["which"]))
        if does == "cancel":
            return workload.cancel(which, frees_credits=bool(arguments["frees_credits"]))
        return workload.pause(which) if does == "pause" else workload.resume(which)

    def _fault(self, event: Event) -> Fault:
        index = event.arguments["index"]
        if index not in self.faults:
            self.faults[index] = FAULTS[event.name]()
            self.rngs[index] = rng_of(self.rig.options, index)
        return self.faults[index]

    def _end(self, event: Event) -> str | None:
        fault = self.faults.get(event.arguments["index"])
        if fault is None:  # it never happened
            return None
        fault.end(self.rig)
        index = event.arguments["index"]
        if (index, FAULT) not in self.marked:  # it was prepared, and nothing more
            self._forget(index)
            return None
        self._mark(event, END)
        self._forget(index)
        return f"over: {event.name}"

    def _forget(self, index: int) -> None:
        """It is over."""
        fault = self.faults.pop(index)
        if fault.missed:
            self.missed.append(fault.name)

    def _mark(self, event: Event, kind: str) -> None:
        """Leave a mark in the ledger. What is tried again has one of the first time, and others of the later ones."""
        mark = (event.arguments["index"], kind)
        self.rig.ledger.note(AGAIN if mark in self.marked else kind, event.name)
        self.marked.add(mark)

    def end_all(self) -> None:
        """No more faults: whatever still lasts is ended, and everything is brought back to health."""
        rig = self.rig
        rig.say("no more faults; everything is mended")
        if rig.servers is not None:
            rig.servers.postgres.start()
        for index in sorted(self.faults):
            event = Event(0.0, "end", self.faults[index].name, {"index": index})
            for tries in range(1, _TRIES + 1):
                if self._happens(event, tries):
                    break
                time.sleep(_TRY_AGAIN_SECONDS)
        rig.mend()
        for name in self.missed:
            rig.ledger.note(MISSED, name)
        rig.ledger.note(SETTLING, "no more faults")

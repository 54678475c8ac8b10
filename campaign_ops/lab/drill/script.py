"""The script of a drill: which event happens when. Pure; everything random in a drill is drawn here, from its seed.

A replay plans the same faults at the same times and draws the same numbers. Their effect depends on the state at that
moment, and so on how the operating system schedules the processes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.drill.faults import FAULTS, Fault
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.worlds import WORLDS
from campaign_ops.lab.shop.queues import TENANTS

WARM_UP_SECONDS = 3.0
"""Time for workers and sweepers to start before the first fault."""

CALM_SECONDS = 1.0
"""Every fault ends this long before the end of the script."""

SPACING_SECONDS = (1.0, 6.0)
"""Time between two faults: at least the first, so that each can take effect; if there is time for more than the second,
faults are repeated."""

PEOPLE_EVERY_SECONDS = 2.0
_SHORTEST_SECONDS = 3.0
_SCARCE_SHARE = 0.5
_DIES_SHARE = 0.2
"""Of the campaigns, those whose application dies while it enqueues them. Without them, and with 5 % of completions lost
instead of 15, a drill of 160 s had eight repairs: too few for a fault of the product to show."""
_PEOPLE = ("pause", "pause", "cancel", "resume", "resume", "retry", "reopen", "move", "import_more")
"""What people let the application do: methods of the workload."""


@dataclass(frozen=True)
class Event:
    """One event of a script.

    Attributes:
        at: Seconds from the start.
        kind: ``campaign``, ``person``, ``prepare``, ``fault`` or ``end`` (of a fault).
        name: The campaign's label, the person's action, or the fault's name.
        arguments: JSON values; ``index`` is the same for all events of one fault.
    """

    at: float
    kind: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def feasible_script(
    options: DrillOptions, impossible: Callable[[Fault], str | None]
) -> tuple[tuple[Event, ...], dict[str, str]]:
    """The script of all requested faults that are possible, and by name the reasons why others are not.

    Args:
        options: The drill's options.
        impossible: Returns why a fault is impossible; None if it is possible.

    Raises:
        ConfigurationError: A fault that was named is impossible, or all of them are.
    """
    named = tuple(FAULTS) if options.faults is None else options.faults
    wanted = [name for name in named if name not in options.without]
    skipped = {name: reason for name in wanted if (reason := impossible(FAULTS[name]())) is not None}
    available = [name for name in wanted if name not in skipped]
    script = make_script(options, available)
    skipped |= dict.fromkeys(left_out(script, available), f"a drill of {options.seconds:g} s is too short for it")
    if skipped and options.faults is not None:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in skipped.items())
        raise ConfigurationError(
            f"cannot be injected here: {reasons}", where="--fault", mend="fix that, or name others"
        )
    if wanted and len(skipped) == len(wanted):
        raise ConfigurationError(
            f"no fault can be injected in a drill of {options.seconds:g} s", mend="give it more --seconds"
        )
    return script, skipped


def make_script(options: DrillOptions, available: Sequence[str]) -> tuple[Event, ...]:
    """The events of a drill, in order of time.

    Args:
        options: Seed, length and size.
        available: Names of the possible faults. Each is planned at least once if the length allows.
    """
    events = [*_campaigns(options), *_people(options), *_applications(options), *_faults(options, available)]
    # Sorted by time only: events of the same moment keep their order.
    return tuple(sorted(events, key=lambda event: event.at))


def left_out(script: Sequence[Event], available: Sequence[str]) -> list[str]:
    """Possible faults for which the script was too short."""
    planned = {event.name for event in script if event.kind == "fault"}
    return [name for name in available if name not in planned]


def rng_of(options: DrillOptions, index: int) -> random.Random:
    """The random source of one fault: the same numbers in a replay."""
    return random.Random(f"{options.seed} {index}")


def _campaigns(options: DrillOptions) -> Iterator[Event]:
    rng, size = random.Random(f"{options.seed} campaigns"), options.scale
    at, number = 0.0, 0
    while at < options.seconds - CALM_SECONDS:
        number += 1
        kind = rng.random()
        enqueued = round(rng.random(), 2) if rng.random() < _DIES_SHARE else 1
        yield Event(
            round(at, 2),
            "campaign",
            f"cmp_{number}",
            {
                "size": rng.randint(*size.recipients),
                "tenant": rng.choice(TENANTS),
                "job_options": {"priority": 5} if kind < 0.2 else {"delay": 400} if kind < 0.3 else {},
                "enqueued": enqueued,
            },
        )
        at += rng.uniform(0.5, 1.5) * size.campaign_every_seconds


def _people(options: DrillOptions) -> Iterator[Event]:
    """People act on campaigns; ``which`` selects among the campaigns that exist then."""
    rng = random.Random(f"{options.seed} people")
    at = WARM_UP_SECONDS
    while at < options.seconds - CALM_SECONDS:
        arguments = {"which": rng.random(), "frees_credits": rng.random() < 0.7}
        yield Event(round(at, 2), "person", rng.choice(_PEOPLE), arguments)
        at += rng.uniform(0.5, 1.5) * PEOPLE_EVERY_SECONDS


def _applications(options: DrillOptions) -> Iterator[Event]:
    """What the application does in the worlds of the drill, and in no other."""
    for name in options.worlds:
        rng, acts = random.Random(f"{options.seed} {name}"), WORLDS[name].acts
        at = WARM_UP_SECONDS
        while acts and at < options.seconds - CALM_SECONDS:
            yield Event(round(at, 2), "person", rng.choice(acts), {"which": rng.random()})
            at += rng.uniform(0.5, 1.5) * PEOPLE_EVERY_SECONDS


def _faults(options: DrillOptions, available: Sequence[str]) -> Iterator[Event]:
    rng = random.Random(f"{options.seed} faults")
    first, last = WARM_UP_SECONDS, options.seconds - CALM_SECONDS
    least, most = SPACING_SECONDS
    if not available or last <= first:
        return
    spacing = min(max((last - first) / len(available), least), most)
    busy_until: dict[str, float] = {}
    waiting: list[str] = []
    for index in range(round((last - first) / spacing)):
        if not waiting:
            waiting = rng.sample(sorted(available), len(available))  # a round: each once before any is repeated
        at = first + spacing * (index + rng.uniform(0, 0.9))
        # A server or a sweeper is used by one fault at a time.
        free_at = {name: max([at, *(busy_until.get(part, 0.0) for part in FAULTS[name].resources)]) for name in waiting}
        hurried = _hurried(waiting, options.seconds, last - at)
        name = min(waiting, key=lambda name: (free_at[name], not FAULTS[name].resources & hurried))
        waiting.remove(name)
        kind, at = FAULTS[name], free_at[name]
        length = min(kind().duration(rng, options.seconds), _longest(options.seconds))
        if at >= last:
            continue
        end = min(at + length, last)
        busy_until |= dict.fromkeys(kind.resources, end + 0.5)
        if kind.lead_seconds:
            yield Event(round(max(at - kind.lead_seconds, 0), 2), "prepare", name, {"index": index})
        yield Event(round(at, 2), "fault", name, {"index": index})
        if kind().lasts:
            yield Event(round(end, 2), "end", name, {"index": index})


def _longest(seconds: float) -> float:
    """The longest time in seconds that one fault lasts in a drill of ``seconds``."""
    return max(seconds / 10, _SHORTEST_SECONDS)


def _hurried(waiting: Sequence[str], seconds: float, left: float) -> set[str]:
    """Resources needed by so many waiting faults that these must begin now, or time runs out."""
    needed: dict[str, float] = {}
    for name in waiting:
        for part in FAULTS[name].resources:
            longest = FAULTS[name].duration_seconds[1] or _longest(seconds)
            needed[part] = needed.get(part, 0.0) + min(longest, _longest(seconds)) + 0.5
    return {part for part, time in needed.items() if time > _SCARCE_SHARE * left}

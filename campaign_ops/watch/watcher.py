"""The watcher: looks at every platform each minute, brings its incidents up to date and sends what is due.

A process of its own that needs no Dagster. Several may run: incidents and notifications are changed under locks, and
looks that follow each other quickly are one look. A platform whose database cannot be written has its incident in the
watcher's memory and is notified directly: after a restart of the watcher it may be notified once more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Event

from pydantic import SecretStr

from campaign_ops.core.causes import Cause
from campaign_ops.core.errors import CampaignOpsError, ConfigurationError
from campaign_ops.core.incidents import Change, Incident, Look, Rules, judge
from campaign_ops.core.notices import Message, one_line
from campaign_ops.core.wording import plural
from campaign_ops.platform import Platform
from campaign_ops.watch.channels import Notify
from campaign_ops.watch.dagster import Dagster, DagsterState
from campaign_ops.watch.dead_man import ping
from campaign_ops.watch.freshness import stale_after
from campaign_ops.watch.incidents import update
from campaign_ops.watch.notify import Limits, send_due
from campaign_ops.watch.sending import send
from campaign_ops.watch.symptoms import is_away, look_and_keep, of_error

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Platforms looked at together: one whose database hangs, for up to 15 s, does not delay the others."""
_UNSENT_KEPT = 10
"""Messages about one platform that wait for a channel in memory; older ones are dropped."""
_UNWRITABLE = frozenset({Cause.DATABASE_AWAY, Cause.CONFIGURATION_BROKEN})


@dataclass(frozen=True)
class Watched:
    """One platform to watch.

    Attributes:
        name: Its name in the configuration.
        connect: Makes it, with timeouts of a few seconds; raises where its entry in the configuration is broken.
        schedule: The cron expression by which it is swept; empty where that is not known.
    """

    name: str
    connect: Callable[[], Platform]
    schedule: str = ""


@dataclass(frozen=True)
class Watch:
    """The platforms, channels and addresses of a watcher.

    Attributes:
        platforms: Every platform, broken ones included.
        notify: The channels.
        dagster: Dagster's webserver; None without one.
        dead_man_url: Called at the end of a tick in which the sweeps of all platforms were fresh; None for nothing.
        stale_after_seconds: The age at which the last finished sweep is too old; None for what the schedule says.
    """

    platforms: Sequence[Watched]
    notify: Notify = field(default_factory=Notify)
    dagster: Dagster | None = None
    dead_man_url: SecretStr | None = None
    stale_after_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one look at a platform."""

    platform: str
    causes: tuple[Cause, ...]
    changes: tuple[Change, ...] = ()
    sent: int = 0
    error: str = ""

    @property
    def fresh(self) -> bool:
        """Return whether the last sweep is young enough; False where that could not be read."""
        return not self.error and not {Cause.SWEEP_STALE, *_UNWRITABLE} & {*self.causes}


class Watcher:
    """Watches until it is stopped. Keeps in memory only the incidents and messages of platforms that cannot be written.

    Args:
        watch: What is watched.
        rules: When a look opens or resolves an incident.
        limits: Limits of sending and of retrying.
    """

    def __init__(self, watch: Watch, rules: Rules | None = None, limits: Limits | None = None) -> None:
        self.watch = watch
        self.rules = rules or Rules()
        self.limits = limits or Limits()
        self._unwritten: dict[str, dict[Cause, Incident]] = {}
        self._unsent: dict[str, list[tuple[str, Message]]] = {}

    def run(self, stop: Event, every_seconds: float, looked: Callable[[], None] = lambda: None) -> None:
        """Tick at this pace until ``stop`` is set; ``looked`` is as in `tick`.

        A tick that takes longer is followed by the next at once.
        """
        while not stop.is_set():
            began = time.monotonic()
            self.tick(looked)
            stop.wait(max(0.0, every_seconds - (time.monotonic() - began)))

    def tick(self, looked: Callable[[], None] = lambda: None) -> list[Seen]:
        """Look once at every platform, and call ``looked`` after each: the sign of life of a long tick.

        Never raises: what fails is logged, and the next tick is the next try.
        """
        began = time.monotonic()
        dagster = self.watch.dagster.state() if self.watch.dagster is not None else None
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="watch") as pool:
            seen = []
            for platform in pool.map(lambda watched: self._guarded(watched, dagster), self.watch.platforms):
                seen.append(platform)
                looked()
        stale = [platform.platform for platform in seen if not platform.fresh]
        if self.watch.dead_man_url is not None:
            if stale:
                log.warning("the dead man's switch is not called: no fresh sweep of %s", ", ".join(stale))
            else:
                ping(self.watch.dead_man_url)
        wrong = sum(len(platform.causes) or bool(platform.error) for platform in seen)
        seconds = time.monotonic() - began
        log.info("looked at %s in %.2f s: %s wrong", plural(len(seen), "platform"), seconds, wrong or "nothing")
        return seen

    def _guarded(self, watched: Watched, dagster: DagsterState | None) -> Seen:
        try:
            return self._look(watched, dagster)
        except Exception:  # one platform's surprise must not end the watch over the others
            log.exception("%s: the look failed", watched.name)
            return Seen(watched.name, (), error="the look failed")

    def _look(self, watched: Watched, dagster: DagsterState | None) -> Seen:
        try:
            platform = watched.connect()
        except ConfigurationError as error:
            return self._tell_without_database(watched.name, of_error(error), str(error))
        with closing(platform):
            try:
                look = look_and_keep(platform, stale_after_seconds=self._stale_after(watched))
            except CampaignOpsError as error:
                look = of_error(error)
                if is_away(error):  # to try to write would take as long again
                    return self._tell_without_database(watched.name, look, str(error))
            if dagster is not None:
                look |= dagster.look(watched.name)
            try:
                changes = update(platform, look, self.watch.notify, rules=self.rules)
                sent = send_due(platform, self.watch.notify.channels, limits=self.limits).sent
            except CampaignOpsError as error:
                return self._tell_without_database(watched.name, of_error(error), str(error))
            self._tell_without_database(watched.name, Look(judged=dict.fromkeys(_UNWRITABLE, "")))
        for change in changes:
            if change.what is not None:
                log.info("%s: %s: incident %s %s", watched.name, change.incident.cause, change.incident.id, change.what)
        return Seen(watched.name, _logged(watched.name, look), tuple(changes), sent)

    def _stale_after(self, watched: Watched) -> int:
        seconds = self.watch.stale_after_seconds
        return stale_after(watched.schedule, datetime.now(UTC)) if seconds is None else seconds

    def _tell_without_database(self, name: str, look: Look, error: str = "") -> Seen:
        """Judge a look against what this process remembers, and send what comes of it."""
        known = self._unwritten.get(name, {})
        if known or look.symptoms:
            changes = judge(known, look, self.rules, datetime.now(UTC))
            discarded = {change.incident.cause for change in changes if change.discarded}
            kept = {**known, **{change.incident.cause: change.incident for change in changes}}
            self._unwritten[name] = {cause: incident for cause, incident in kept.items() if cause not in discarded}
        else:
            changes = []
        self._send_unwritten(name, changes)
        return Seen(name, _logged(name, look), tuple(changes), error=error)

    def _send_unwritten(self, name: str, changes: Sequence[Change]) -> None:
        """Send what no outbox holds; what a channel does not take is tried again in the next tick, after the older."""
        unsent = self._unsent.pop(name, [])
        for change in changes:
            if change.notified and change.what is not None:
                incident = replace(change.incident, id=change.incident.id or 0)
                unsent += self.watch.notify.messages(name, incident, change.what)
        channels = {channel.name: channel for channel in self.watch.notify.channels}
        failed: dict[str, list[tuple[str, Message]]] = {}
        for channel, message in unsent:
            if channel not in failed and (problem := send(channels[channel], message)):
                log.warning("%s: channel %s: %s", name, channel, problem)
                failed[channel] = []
            if channel in failed:
                failed[channel].append((channel, message))
        if failed:
            self._unsent[name] = [waiting for each in failed.values() for waiting in each[-_UNSENT_KEPT:]]


def _logged(name: str, look: Look) -> tuple[Cause, ...]:
    """Log what a look at a platform found wrong; its causes."""
    for symptom in look.symptoms:
        log.info("%s: %s: %s", name, symptom.cause, one_line(symptom.detail))
    return tuple(symptom.cause for symptom in look.symptoms)

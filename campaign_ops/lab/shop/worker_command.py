"""The command line of a worker's process: its behaviour, and the address of its platform."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

from campaign_ops.lab.shop.schema import PlatformShape
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile

MOMENTS = ("before_send", "after_send", "after_write")
"""The moments of a send at which a worker can be made to die."""
READY = "takes jobs of"
"""A worker's log contains this once it is connected and handles signals."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The behaviour of one worker; each attribute is an option of the command line.

    Attributes:
        name: Its name in Redis' client list.
        concurrency: Jobs at the same time, of all queues, and at least one of each.
        delay_ms: Time before each send: the provider's rate limit.
        answer_ms: Time between a send and its answer; a crash meanwhile leaves a recipient whose send is not known.
        reject_share: Share of recipients that the provider rejects.
        forget_completion: Share of campaigns that are never marked sent, as if the process had died before.
        touch_every: Touch the campaign's row after so many recipients; 0 never.
        lock_ms: How long a job stays locked by a worker that no longer renews the lock.
        stalled_ms: Interval of the search for such jobs.
        claims: Claim a recipient in Redis before sending, and never send without the claim.
        claim_seconds: How long a claim lasts.
        loose: Send whatever a job lists, without a claim and without reading the rows.
        status_later: Share of recipients whose row gets only the provider's id, as where a webhook brings the status.
        drops: A bug: jobs of campaigns whose name has this prefix end at once, and nothing is sent; empty for none.
        stages: In campaigns whose name has this prefix, the last recipient is sent to after all others; empty for none.
        die_at: Crash (SIGKILL) at one moment of a send: ``before_send`` when the recipient is claimed, ``after_send``
            before the answer is written, ``after_write``; empty for never.
        die_after: Crash at this send of the process' life, counted from 1.
    """

    name: str = "worker-1"
    concurrency: int = 1
    delay_ms: int = 50
    answer_ms: int = 0
    reject_share: float = 0.0
    forget_completion: float = 0.0
    touch_every: int = 25
    lock_ms: int = 30_000
    stalled_ms: int = 30_000
    claims: bool = False
    claim_seconds: int = 86_400
    loose: bool = False
    status_later: float = 0.0
    drops: str = ""
    stages: str = ""
    die_at: str = ""
    die_after: int = 1

    def __post_init__(self) -> None:
        if self.die_at not in ("", *MOMENTS):
            msg = f"a worker dies at one of {', '.join(MOMENTS)}, not at {self.die_at!r}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """Everything that a worker's process needs to know."""

    database_url: str
    queue_url: str
    prefix: str
    profile: Profile
    shape: PlatformShape
    options: WorkerOptions

    def command_line(self) -> Iterator[str]:
        """Yield the arguments that `parse_command` reads."""
        yield from ("--database-url", self.database_url, "--queue-url", self.queue_url, "--prefix", self.prefix)
        yield from ("--profile", self.profile.model_dump_json(by_alias=True), "--shape", json.dumps(asdict(self.shape)))
        for key, value in asdict(self.options).items():
            flag = "--" + key.replace("_", "-")
            if not isinstance(value, bool):
                yield f"{flag}={value}"
            elif value:
                yield flag


def parse_command(arguments: Sequence[str] | None, description: str | None) -> WorkerCommand:
    """Parse a command line; the program's own if ``arguments`` is None."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--queue-url", required=True)
    parser.add_argument("--prefix", default="bull")
    parser.add_argument("--profile", default="sms", help="a profile's name or path, or a whole one as JSON")
    parser.add_argument("--shape", default="{}", help="the platform's column types as JSON")
    for option in fields(WorkerOptions):
        flag, default = "--" + option.name.replace("_", "-"), option.default
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(default), default=default)
    values = vars(parser.parse_args(arguments))
    return WorkerCommand(
        values["database_url"],
        values["queue_url"],
        values["prefix"],
        _read_profile(values["profile"]),
        PlatformShape(**json.loads(values["shape"])),
        WorkerOptions(**{option.name: values[option.name] for option in fields(WorkerOptions)}),
    )


def _read_profile(text: str) -> Profile:
    """Read a profile from its name, its path or JSON."""
    return Profile.model_validate_json(text) if text.startswith("{") else load_profile(text)

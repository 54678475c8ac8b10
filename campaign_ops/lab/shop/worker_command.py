"""What a worker's process is told on its command line: how it behaves, and where its platform is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

from campaign_ops.lab.shop.schema import PlatformShape
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile

MOMENTS = ("before_send", "after_send", "after_write")
"""The moments of a send at which a worker can be told to die."""
READY = "takes jobs of"
"""What a worker's log says when it is connected and listens to signals."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How one worker behaves; each is an option of the command line.

    Attributes:
        name: What it is called in Redis' client list.
        concurrency: Jobs at the same time.
        delay_ms: Time before each send: the provider's rate limit.
        answer_ms: Time between a send and its answer; a crash in it leaves a recipient of whom nobody knows.
        reject_share: Share of recipients whom the provider rejects.
        forget_completion: Share of campaigns that are never marked sent, as if the process had died before.
        touch_every: Touch the campaign's row after so many recipients; 0 never.
        lock_ms: How long a job stays locked by a worker that no longer renews it.
        stalled_ms: How often such jobs are looked for.
        claims: Claim a recipient in Redis before sending, and never send without the claim.
        drops: A bug: jobs of campaigns whose id begins so end at once, and nothing is sent; empty for none.
        stages: The last recipient of campaigns whose id begins so is sent to after all others; empty for none.
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
    """All that a worker's process has to know."""

    database_url: str
    queue_url: str
    prefix: str
    profile: Profile
    shape: PlatformShape
    options: WorkerOptions

    def command_line(self) -> Iterator[str]:
        """The arguments that `parse_command` reads."""
        yield from ("--database-url", self.database_url, "--queue-url", self.queue_url, "--prefix", self.prefix)
        yield from ("--profile", self.profile.model_dump_json(by_alias=True), "--shape", json.dumps(asdict(self.shape)))
        for key, value in asdict(self.options).items():
            flag = "--" + key.replace("_", "-")
            if not isinstance(value, bool):
                yield f"{flag}={value}"
            elif value:
                yield flag


def parse_command(arguments: Sequence[str] | None, description: str | None) -> WorkerCommand:
    """What a command line says; the program's own if none is given."""
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
    given = vars(parser.parse_args(arguments))
    return WorkerCommand(
        given["database_url"],
        given["queue_url"],
        given["prefix"],
        _read_profile(given["profile"]),
        PlatformShape(**json.loads(given["shape"])),
        WorkerOptions(**{option.name: given[option.name] for option in fields(WorkerOptions)}),
    )


def _read_profile(text: str) -> Profile:
    """A profile from its name, its path or JSON."""
    return Profile.model_validate_json(text) if text.startswith("{") else load_profile(text)

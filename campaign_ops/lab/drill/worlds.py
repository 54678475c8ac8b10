"""The worlds of a drill: how its platform differs from the shop as its migrations make it. Pure data, and their draw.

A new world is one object in ``_ALL`` and a row in docs/drill.md. Everything else follows from its fields: the tables,
the profile, what the application does, the draw, the options of the command line, and its line on the scoreboard.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.wording import nearest
from campaign_ops.doctor.grants import qualified, quoted
from campaign_ops.lab.drill.ledger import ADDED

if TYPE_CHECKING:
    from campaign_ops.lab.drill.checkers.records import Records
    from campaign_ops.profile.model import Profile

PLAIN = "plain"
"""The name of the platform without any world."""
PLAIN_SHARE, SHARE = 0.1, 0.5
"""The share of drills without any world; the share of the others that take a world, if no world that they have taken
changes the same part. A drill in several worlds sees what any of them shows."""
SECOND_JOB, REPORT_JOB, EXPORT_JOB, SYNC_JOB = "resendBulkSMS", "campaignReport", "exportRecipients", "syncContacts"
CRON_JOB = "cronBulkSMS"
"""Names of the application's other jobs. Workers send from the first and from the cron's, of which the profile does not
know; the others send nothing."""
NODE_MAJORS = (4, 5, 6)
"""Major versions of BullMQ's client for Node."""


def _no_statements(_profile: Profile, _role: str) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One difference.

    Attributes:
        name: Its name in options.
        what: What is different, in one line.
        part: What it changes; of the worlds that change the same part, a drill has at most one.
        shape: Fields of `PlatformShape` that it sets.
        queue: Keys of the profile's queue that it sets; lists of several worlds are joined.
        statements: The statements for a profile and the role of campaign_ops that the owner of the database runs when
            the tables and the role exist.
        acts: Methods of the workload that the application calls every two seconds, one at a time.
        clients: Major versions of BullMQ's clients for Node with which the application adds jobs, in turn; needs
            ``--node``.
        beside: The built-in profile of a second platform beside the first, in a database of its own; needs the embedded
            servers. What shows this world is then in the records of the second.
        met: Counts what shows, in the records of a drill, that the drill was in this world.
        counted: What it counts, for people.
    """

    name: str
    what: str
    part: str
    shape: Mapping[str, Any] = field(default_factory=dict)
    queue: Mapping[str, Any] = field(default_factory=dict)
    statements: Callable[[Profile, str], Iterable[str]] = _no_statements
    acts: tuple[str, ...] = ()
    clients: tuple[int, ...] = ()
    beside: str = ""
    met: Callable[[Records], int]
    counted: str


def _outside_of_the_fullest(records: Records) -> int:
    added = records.watched.added
    return added.total() - max(added.values(), default=0)


def _with_uuid(records: Records) -> int:
    return sum(len(key) == 36 and key.count("-") == 4 for key in records.moves)


def _with_big_number(records: Records) -> int:
    return sum(key.isdecimal() and int(key) > 2**31 for key in records.moves)


def _without_foreign_key(records: Records) -> int:
    return 0 if records.facts["foreign_keys"] else len(records.moves)


def _with_other_names(records: Records) -> int:
    return sum(records.watched.names[name] for name in (SECOND_JOB, REPORT_JOB, EXPORT_JOB, SYNC_JOB))


def _by_the_rarest_client(records: Records) -> int:
    times = Counter(mark.text for mark in records.marked(ADDED))
    return min(times[str(major)] for major in NODE_MAJORS)


def _completed(records: Records) -> int:
    return sum(repair.kind == "complete" for repair in records.repairs)


def _row_security(profile: Profile, role: str) -> Iterable[str]:
    """Policies by which each tenant sees its own rows, and the right of our role to see all."""
    mine = "current_setting('shop.tenant', true)"
    campaign, recipient, reservation = profile.campaign, profile.recipient, profile.reservation
    own = f"{quoted(campaign.tenant)} = {mine}"
    campaigns = f"SELECT {quoted(campaign.id)} FROM {qualified(profile, campaign.table)} WHERE {own}"
    policies = {campaign.table: own, recipient.table: f"{quoted(recipient.campaign_id)} IN ({campaigns})"}
    if reservation is not None:
        policies[reservation.table] = f"{quoted(reservation.tenant)} = {mine}"
    for table, policy in policies.items():
        yield f"ALTER TABLE {qualified(profile, table)} ENABLE ROW LEVEL SECURITY"
        yield f"CREATE POLICY own_rows ON {qualified(profile, table)} USING ({policy})"
    yield f"ALTER ROLE {quoted(role)} BYPASSRLS"


_ALL = (
    World(
        name="second_queue",
        what="half of each campaign's batches are in a second queue",
        part="queues",
        queue={"also": ["sms-second"]},
        met=_outside_of_the_fullest,
        counted="jobs in the emptier queue",
    ),
    World(
        name="tenant_queues",
        what="every tenant has a queue of its own",
        part="queues",
        queue={"name": "sms-{tenant}"},
        met=_outside_of_the_fullest,
        counted="jobs outside of the fullest queue",
    ),
    World(
        name="uuid_ids",
        what="ids are of type uuid",
        part="ids",
        shape={"ids": "uuid"},
        met=_with_uuid,
        counted="recipients",
    ),
    World(
        name="bigint_ids",
        what="ids are of type bigint, and numbers in jobs",
        part="ids",
        shape={"ids": "bigint"},
        met=_with_big_number,
        counted="recipients with an id beyond 32 bits",
    ),
    World(
        name="no_foreign_keys",
        what="a recipient's campaign is no foreign key",
        part="foreign keys",
        shape={"foreign_keys": False},
        met=_without_foreign_key,
        counted="recipients",
    ),
    World(
        name="other_jobs",
        what="the queue holds other jobs, too; some name a campaign or its recipients",
        part="names of jobs",
        queue={"further_jobs": [SECOND_JOB], "harmless_jobs": [REPORT_JOB]},
        acts=("add_other_job",),
        met=_with_other_names,
        counted="jobs of four other names",
    ),
    World(
        name="row_security",
        what="policies show tenants their own rows; the role of campaign_ops has BYPASSRLS",
        part="row security",
        statements=_row_security,
        met=lambda records: records.facts["row_security"],
        counted="tables with policies",
    ),
    World(
        name="own_cron",
        what="the application's own cron puts pending recipients into new jobs, by its own rule",
        part="cron",
        acts=("run_cron",),
        met=lambda records: records.watched.names[CRON_JOB],
        counted="jobs of its cron",
    ),
    World(
        name="mixed_clients",
        what="the application adds its jobs with BullMQ 4, 5 and 6 for Node in turn (only with --node)",
        part="clients",
        clients=NODE_MAJORS,
        met=_by_the_rarest_client,
        counted="times that the rarest of them added jobs",
    ),
    World(
        name="counters",
        what="a second platform without a queue, with counters, whose rows appear only when sent",
        part="platform beside",
        acts=("start_beside",) * 5 + ("kill_sweeper_beside",),
        beside="messenger",
        met=_completed,
        counted="campaigns of the second platform completed by sweeps",
    ),
)
WORLDS: Mapping[str, World] = {world.name: world for world in _ALL}
"""All worlds by name."""


def drawn(seed: int, *, node: bool = False, embedded: bool = True) -> tuple[str, ...]:
    """Return the worlds of a drill whose options name none.

    Args:
        seed: The drill's seed.
        node: Clients for Node are there.
        embedded: The drill starts its own servers.
    """
    rng = random.Random(f"{seed} worlds")
    taken: dict[str, World] = {}
    is_plain = rng.random() < PLAIN_SHARE
    for world in () if is_plain else rng.sample(_ALL, len(_ALL)):
        if rng.random() < SHARE and (node or not world.clients) and (embedded or not world.beside):
            taken.setdefault(world.part, world)
    return tuple(world.name for world in _ALL if world in taken.values())


def chosen(names: Sequence[str], seed: int, *, node: bool = False, embedded: bool = True) -> tuple[str, ...]:
    """Return the worlds that options name, or without any name those of the seed.

    Raises:
        ConfigurationError: There is no such world, two of them change the same part, or one needs ``node`` or
            ``embedded`` servers.
    """
    known = [*WORLDS, PLAIN]
    if unknown := next((name for name in names if name not in known), None):
        raise ConfigurationError(f"there is no world {unknown!r}", where="--world", mend=nearest(unknown, known))
    wanted: dict[str, World] = {}
    for world in (WORLDS[name] for name in dict.fromkeys(names) if name != PLAIN):
        if (rival := wanted.setdefault(world.part, world)) is not world:
            problem = f"{rival.name} and {world.name} both change the {world.part}"
            raise ConfigurationError(problem, where="--world", mend="name one of them")
        if world.clients and not node:
            raise ConfigurationError(f"{world.name} needs Node's clients", where="--world", mend="give --node, too")
        if world.beside and not embedded:
            problem = f"{world.name} needs a database of its own on the embedded servers"
            raise ConfigurationError(problem, where="--world", mend="leave --database-url and --redis-url out")
    if PLAIN in names and wanted:
        raise ConfigurationError(f"{PLAIN} is the platform without a world", where="--world", mend="name it alone")
    if not names:
        return drawn(seed, node=node, embedded=embedded)
    return tuple(world.name for world in _ALL if world in wanted.values())

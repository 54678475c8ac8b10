"""The platform's own tables and queue as external assets, so that lineage starts where the data does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import dagster as dg
import sqlalchemy as sa

from campaign_ops.orchestration.names import asset_key
from campaign_ops.orchestration.owners import owners
from campaign_ops.profile.model import Profile
from campaign_ops.profile.queue import QueueProfile
from campaign_ops.profile.tables import CampaignTable, RecipientTable, ReservationTable
from campaign_ops.settings import PlatformSettings

_Table = CampaignTable | RecipientTable | ReservationTable


def sources(profile: Profile) -> tuple[str, ...]:
    """What there is to read of a platform, by its part: always ``campaign`` and ``recipient``."""
    optional = {"reservation": profile.reservation, "queue": profile.queue}
    return ("campaign", "recipient", *(name for name, part in optional.items() if part is not None))


def source_specs(platform: PlatformSettings) -> list[dg.AssetSpec]:
    """An external asset for each table and the queue. What we read of it is in its description."""
    profile = platform.profile
    tables = (profile.campaign, profile.recipient, profile.reservation)
    names = ("campaign", "recipient", "reservation")
    specs = [_table_spec(platform, name, table) for name, table in zip(names, tables, strict=True) if table is not None]
    return specs if profile.queue is None else [*specs, _queue_spec(platform, profile.queue)]


def _table_spec(platform: PlatformSettings, name: str, table: _Table) -> dg.AssetSpec:
    where = f"{platform.profile.db_schema}.{table.table}"
    read = ", ".join(f"`{column}`" for column in _columns(table))
    return dg.AssetSpec(
        asset_key(platform.name, name),
        group_name=platform.name,
        kinds={"postgres", "table"},
        owners=owners(platform.contact),
        description=f"The platform's own table {where}. Of it we read {read}, and nothing else.",
        metadata={"dagster/table_name": f"{database_name(platform)}.{where}"},
    )


def _queue_spec(platform: PlatformSettings, queue: QueueProfile) -> dg.AssetSpec:
    names = ", ".join(f"`{platform.queue_prefix}:{name}`" for name in (queue.name, *queue.also))
    which = f"queue{'s' if queue.several else ''} {names}"
    return dg.AssetSpec(
        asset_key(platform.name, "queue"),
        group_name=platform.name,
        kinds={"redis", "bullmq"},
        owners=owners(platform.contact),
        description=f"The platform's BullMQ {which}, jobs `{queue.job}`.",
    )


def _columns(table: _Table) -> Iterator[str]:
    """Names of the columns that the profile gives a meaning to, each once."""
    said = table.model_dump(exclude={"table", "words", "rows", "activity", "counters"}, exclude_none=True)
    activity = table.activity if isinstance(table, RecipientTable) else ()
    counters = table.counters if isinstance(table, CampaignTable) else None
    counted = counters.model_dump() if counters is not None else {}
    yield from dict.fromkeys(chain(said.values(), activity, counted.values()))


def database_name(platform: PlatformSettings) -> str:
    """The database that the platform and our schema are in."""
    return sa.make_url(platform.database_url.get_secret_value()).database or platform.name

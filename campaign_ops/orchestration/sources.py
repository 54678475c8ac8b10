"""The platform's own tables and queue as external assets, so that lineage starts where the data does."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import dagster as dg
import sqlalchemy as sa

from campaign_ops.orchestration.names import owners
from campaign_ops.orchestration.resources import PlatformSource
from campaign_ops.profile.model import Profile
from campaign_ops.profile.queue import QueueProfile
from campaign_ops.profile.tables import CampaignTable, RecipientTable, ReservationTable
from campaign_ops.settings import PlatformSettings

_Table = CampaignTable | RecipientTable | ReservationTable


def sources(profile: Profile) -> tuple[str, ...]:
    """The parts of a platform that can be read: always ``campaign`` and ``recipient``."""
    optional = {"reservation": profile.reservation, "queue": profile.queue}
    return ("campaign", "recipient", *(name for name, part in optional.items() if part is not None))


def columns_by_role(profile: Profile, part: str) -> Mapping[str, tuple[str, ...]] | None:
    """The columns of one of the platform's own tables by their role in the profile; None for anything else.

    A role that may be any of several columns has all of them.
    """
    table: _Table | None = {
        "campaign": profile.campaign,
        "recipient": profile.recipient,
        "reservation": profile.reservation,
    }.get(part)
    if table is None:
        return None
    roles = table.model_dump(exclude={"table", "words", "rows"}, exclude_none=True)
    roles |= roles.pop("counters", {})
    return {role: (columns,) if isinstance(columns, str) else tuple(columns) for role, columns in roles.items()}


def source_specs(source: PlatformSource) -> list[dg.AssetSpec]:
    """An external asset for each table and the queue. Its description names the columns that are read."""
    profile = source.settings.profile
    tables = (profile.campaign, profile.recipient, profile.reservation)
    names = ("campaign", "recipient", "reservation")
    specs = [_table_spec(source, name, table) for name, table in zip(names, tables, strict=True) if table is not None]
    return specs if profile.queue is None else [*specs, _queue_spec(source, profile.queue)]


def _table_spec(source: PlatformSource, name: str, table: _Table) -> dg.AssetSpec:
    platform = source.settings
    where = f"{platform.profile.db_schema}.{table.table}"
    roles = columns_by_role(platform.profile, name) or {}
    columns = list(dict.fromkeys(chain(*roles.values())))
    read = ", ".join(f"`{column}`" for column in columns)
    return dg.AssetSpec(
        source.names.asset(name),
        group_name=source.names.group,
        kinds={"postgres", "table"},
        owners=owners(platform.contact),
        description=f"The platform's own table {where}. Only these columns are read: {read}.",
        metadata={
            "dagster/table_name": f"{database_name(platform)}.{where}",
            "dagster/column_schema": dg.TableSchema([dg.TableColumn(column, "") for column in columns]),
            **console_link(platform),
        },
    )


def _queue_spec(source: PlatformSource, queue: QueueProfile) -> dg.AssetSpec:
    platform = source.settings
    names = ", ".join(f"`{platform.queue_prefix}:{name}`" for name in (queue.name, *queue.also))
    which = f"queue{'s' if queue.several else ''} {names}"
    return dg.AssetSpec(
        source.names.asset("queue"),
        group_name=source.names.group,
        kinds={"redis", "bullmq"},
        owners=owners(platform.contact),
        description=f"The platform's BullMQ {which}, jobs `{queue.job}`.",
        metadata=console_link(platform),
    )


def console_link(platform: PlatformSettings) -> dict[str, dg.UrlMetadataValue]:
    """The platform's page in the operator's console, where one is configured, as metadata."""
    console = platform.console
    return {} if console is None else {"console": dg.MetadataValue.url(console.platform(platform.name))}


def database_name(platform: PlatformSettings) -> str:
    """The database of the platform and of our schema."""
    return sa.make_url(platform.database_url.get_secret_value()).database or platform.name

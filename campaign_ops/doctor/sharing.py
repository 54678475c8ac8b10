"""Other platforms or deployments that watch the same campaign table: each would act without knowing of the other."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError, QueueUnavailable, Refused
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.journal import binding
from campaign_ops.platform import Platform
from campaign_ops.postgres.catalog import Catalog

CHECK = "sharing"


def sharing(platform: Platform, connection: sa.Connection, catalog: Catalog, *, journal: bool) -> Iterator[Finding]:
    """Compare with the other platforms of this configuration and, from the ``journal``, with the last sweep."""
    found = [*_siblings(platform, catalog), *(_binding(platform, connection, catalog) if journal else [])]
    yield from found
    if not found:
        yield Finding(CHECK, Level.OK, f"no other platform watches campaign table {platform.profile.tables_key}")


def _siblings(platform: Platform, catalog: Catalog) -> Iterator[Finding]:
    key = platform.profile.tables_key
    for other in platform.siblings():
        if other.profile.tables_key != key:
            continue
        try:
            if platform.shares_table_with(other, catalog):
                what = f"platform {other.name} watches campaign table {key}, too: both may re-enqueue its recipients"
                mend = "remove one of the two; one platform can look at several queues"
                yield Finding(CHECK, Level.ERROR, what, mend)
        except CampaignOpsError as error:
            what = f"could not find out whether platform {other.name} watches the same campaign table: {error.what}"
            yield Finding(CHECK, Level.NOTE, what)


def _binding(platform: Platform, connection: sa.Connection, catalog: Catalog) -> Iterator[Finding]:
    claim = platform.claim(catalog)
    try:
        binding.check(connection, claim, platform.answers(connection, catalog))
    except Refused as refused:
        yield Finding(CHECK, Level.ERROR, refused.what, refused.mend)
        return
    except QueueUnavailable as error:
        what = f"could not find out whether the last sweep read the same Redis under another address: {error.where}"
        yield Finding(CHECK, Level.WARNING, f"{what}: {error.what}", error.mend)
        return
    bound = binding.bound_to(connection, claim)
    if bound is not None and bound.platform != platform.name:
        what = f"campaign table {claim.tables} was last swept as platform {bound.platform}"
        yield Finding(CHECK, Level.NOTE, what, "nothing to do if it was renamed; otherwise keep one deployment")

"""The application's marker keys: one exists where the provider may already have a recipient's message."""

from __future__ import annotations

from collections.abc import Sequence

from campaign_ops.bullmq.connection import KEYS_PER_PAGE, QueueConnection, pages
from campaign_ops.bullmq.patterns import pattern_of

RECIPIENTS_PER_TRIP = 2_000
KEYS_LISTED_PER_TRIP = 2_000
LISTING_PAYS = 2
"""Keys to ask for, for each key in the database, from which on it is cheaper to list the markers."""


def marked(connection: QueueConnection, recipient_ids: Sequence[str]) -> frozenset[str]:
    """Return the recipients that have a marker under any of the profile's keys."""
    if not (connection.profile.markers and recipient_ids):
        return frozenset()
    if (listed := _listed(connection, len(recipient_ids))) is not None:
        return frozenset(listed.intersection(recipient_ids))
    marked_ids: set[str] = set()
    for recipients in pages(recipient_ids, RECIPIENTS_PER_TRIP):
        # The count is nearly always 0: ask once for many recipients, and for each of them only where it is not.
        groups = list(pages(recipients, recipients_per_page(connection)))
        totals = connection.each("exists", [marker_keys(connection, group) for group in groups])
        suspects = [suspect for group, total in zip(groups, totals, strict=True) if total for suspect in group]
        numbers = connection.each("exists", [marker_keys(connection, [suspect]) for suspect in suspects])
        marked_ids.update(suspect for suspect, number in zip(suspects, numbers, strict=True) if number)
    return frozenset(marked_ids)


def none_marked(connection: QueueConnection, recipients: int) -> bool:
    """Return whether no recipient at all has a marker; False, too, where to ask for so many recipients' is cheaper."""
    return not (connection.profile.markers and recipients) or _listed(connection, recipients) == set()


def _listed(connection: QueueConnection, recipients: int) -> set[str] | None:
    """Every recipient that has a marker; None where asking for those of ``recipients`` is cheaper, or safer.

    SCAN takes no notice of the key patterns that a user may read, so one marker is asked for first: to a user who may
    not read markers, there would seem to be none.
    """
    markers = connection.profile.markers
    asked = recipients * len(markers)
    twice = any(marker.count("{recipient_id}") > 1 for marker in markers)
    if asked <= RECIPIENTS_PER_TRIP or twice or not connection.lists_all_keys:
        return None
    if asked < LISTING_PAYS * connection.size():
        return None
    connection.each("exists", [marker_keys(connection, ["any"])])
    listed: set[str] = set()
    for marker in markers:
        keys = connection.keys_like(pattern_of(marker, "{recipient_id}"), KEYS_LISTED_PER_TRIP)
        if keys is None:
            return None
        before, after = marker.split("{recipient_id}")
        listed.update(key[len(before) : len(key) - len(after)] for key in keys)
    return listed


def recipients_per_page(connection: QueueConnection) -> int:
    """Return how many recipients' keys fit into one command."""
    return max(1, KEYS_PER_PAGE // max(1, len(connection.profile.markers)))


def marker_keys(connection: QueueConnection, recipient_ids: Sequence[str]) -> list[str]:
    """Return every marker key of these recipients."""
    keys = []
    for marker in connection.profile.markers:
        around = marker.split("{recipient_id}")
        keys += [recipient_id.join(around) for recipient_id in recipient_ids]
    return keys

"""The application's marker keys: one exists where the provider may already have a recipient's message."""

from __future__ import annotations

from collections.abc import Sequence

from campaign_ops.bullmq.connection import KEYS_PER_PAGE, QueueConnection, pages

RECIPIENTS_PER_TRIP = 2_000


def marked(connection: QueueConnection, recipient_ids: Sequence[str]) -> frozenset[str]:
    """Return the recipients that have a marker under any of the profile's keys."""
    if not connection.profile.markers:
        return frozenset()
    marked_ids: set[str] = set()
    for recipients in pages(recipient_ids, RECIPIENTS_PER_TRIP):
        # The count is nearly always 0: ask once for many recipients, and for each of them only where it is not.
        groups = list(pages(recipients, recipients_per_page(connection)))
        totals = connection.each("exists", [marker_keys(connection, group) for group in groups])
        suspects = [suspect for group, total in zip(groups, totals, strict=True) if total for suspect in group]
        numbers = connection.each("exists", [marker_keys(connection, [suspect]) for suspect in suspects])
        marked_ids.update(suspect for suspect, number in zip(suspects, numbers, strict=True) if number)
    return frozenset(marked_ids)


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

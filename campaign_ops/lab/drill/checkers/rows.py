"""Row images of the ledger: they use the platform's column names, and are read by the profile's role names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from campaign_ops.profile.model import Profile
from campaign_ops.profile.tables import CampaignTable, ReservationTable

Raw = Mapping[str, Any]
MOMENTS = frozenset({"updated_at", "started_at", "completed_at", "created_at", "expires_at", "released_at"})


class Names:
    """Maps role names to columns, for campaigns and reservations."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        counters = profile.campaign.counters
        more = {"total": counters.total, "succeeded": counters.succeeded, "failed": counters.failed} if counters else {}
        self.columns = {
            "campaign": _columns(profile.campaign) | more,
            "reservation": _columns(profile.reservation) if profile.reservation else {},
        }

    def value(self, relation: str, row: Raw | None, key: str) -> Any:
        """One value of a row: moments as aware datetimes, amounts as decimals, others unchanged; None without a row."""
        column = self.columns[relation].get(key)
        if row is None or column is None or row[column] is None:
            return None
        if key in MOMENTS:
            return moment(row[column])
        return Decimal(str(row[column])) if key == "amount" else row[column]

    def text(self, relation: str, row: Raw | None, key: str) -> str:
        """One value of a row as text; empty if there is none."""
        value = self.value(relation, row, key)
        return "" if value is None else str(value)

    def held(self, row: Raw | None) -> Decimal:
        """The credits that a reservation row holds."""
        words = self.profile.reservation.words if self.profile.reservation else None
        if row is None or words is None or self.value("reservation", row, "status") != words.held:
            return Decimal(0)
        amount: Decimal = self.value("reservation", row, "amount")
        return amount

    def differences(self, relation: str, image: Raw, row: Raw | None) -> list[str]:
        """The differences between a journal image and a row, one line each."""
        if row is None:
            return ["the row does not exist"]
        lines = []
        for key, wanted in image.items():
            value = self.value(relation, row, key)
            expected = moment(wanted) if key in MOMENTS and wanted is not None else wanted
            if value != expected and str(value) != str(expected):
                lines.append(f"{key} is {value}, not {expected}")
        return lines

    def moved(self, relation: str, old: Raw | None, new: Raw | None, expected: Raw) -> list[str]:
        """Columns that differ between two images of a row, except the role names in ``expected``."""
        if old is None or new is None:
            return []
        columns = {self.columns[relation].get(key) for key in expected}
        return sorted(column for column in old if old[column] != new[column] and column not in columns)


def moment(text: str) -> datetime:
    """A moment of a JSON image; without a time zone it is UTC, as Prisma writes it."""
    parsed = datetime.fromisoformat(text)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def clock(at: datetime) -> str:
    """A time of day in UTC, for violations."""
    return at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def _columns(table: CampaignTable | ReservationTable) -> dict[str, str]:
    kept = table.model_dump(exclude={"table", "words", "counters"})
    return {key: column for key, column in kept.items() if column is not None}

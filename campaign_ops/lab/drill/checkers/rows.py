"""The platform's rows as the ledger keeps them: under their own column names, read by the profile's role names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from campaign_ops.profile.model import CampaignTable, Profile, ReservationTable

Raw = Mapping[str, Any]
MOMENTS = frozenset({"updated_at", "started_at", "completed_at", "created_at", "expires_at", "released_at"})


class Names:
    """Which column a role name stands for, in campaigns and in reservations."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        counters = profile.campaign.counters
        more = {"total": counters.total, "succeeded": counters.succeeded, "failed": counters.failed} if counters else {}
        self.columns = {
            "campaign": _columns(profile.campaign) | more,
            "reservation": _columns(profile.reservation) if profile.reservation else {},
        }

    def value(self, relation: str, row: Raw | None, key: str) -> Any:
        """One value of a row: moments are aware, amounts are decimals, the rest is as it is; None without a row."""
        column = self.columns[relation].get(key)
        if row is None or column is None or row[column] is None:
            return None
        if key in MOMENTS:
            return moment(row[column])
        return Decimal(str(row[column])) if key == "amount" else row[column]

    def text(self, relation: str, row: Raw | None, key: str) -> str:
        """The same as text; empty where there is nothing."""
        value = self.value(relation, row, key)
        return "" if value is None else str(value)

    def held(self, row: Raw | None) -> Decimal:
        """The credits that a reservation row sets aside."""
        words = self.profile.reservation.words if self.profile.reservation else None
        if row is None or words is None or self.value("reservation", row, "status") != words.held:
            return Decimal(0)
        amount: Decimal = self.value("reservation", row, "amount")
        return amount

    def differences(self, relation: str, image: Raw, row: Raw | None) -> list[str]:
        """Where a row is not as an image of the journal has it, a line each."""
        if row is None:
            return ["there is no row"]
        found = []
        for key, wanted in image.items():
            value = self.value(relation, row, key)
            expected = moment(wanted) if key in MOMENTS and wanted is not None else wanted
            if value != expected and str(value) != str(expected):
                found.append(f"{key} is {value}, not {expected}")
        return found

    def moved(self, relation: str, old: Raw | None, new: Raw | None, but: Raw) -> list[str]:
        """Columns that differ between two images of a row, apart from those that ``but`` names by their roles."""
        if old is None or new is None:
            return []
        excused = {self.columns[relation].get(key) for key in but}
        return sorted(column for column in old if old[column] != new[column] and column not in excused)


def moment(text: str) -> datetime:
    """A moment of a JSON image; what has no zone is UTC, as Prisma writes it."""
    read = datetime.fromisoformat(text)
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def clock(at: datetime) -> str:
    """A time of day, for a line of damage."""
    return at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def _columns(table: CampaignTable | ReservationTable) -> dict[str, str]:
    kept = table.model_dump(exclude={"table", "words", "counters"})
    return {key: column for key, column in kept.items() if column is not None}

"""One part of the draft, filled from one table: its columns by role, and words that the part must have. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from campaign_ops.postgres.relations import Column
from campaign_ops.postgres.survey import SurveyedTable, WordCount
from campaign_ops.profile.habits import COLUMNS, TEXTS, folded
from campaign_ops.proposal.draft import Draft
from campaign_ops.proposal.tables import pick, picked_surely, place_of


@dataclass
class Part:
    """Fills one part of the draft. A column has one role: those in ``taken`` are not picked again."""

    draft: Draft
    name: str
    table: SurveyedTable
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        assert self.table.key is not None
        named = place_of(self.name, self.table.name) < (2 if self.name == "recipient" else 3)
        note = "" if named else "its name does not say that it is this table"
        self.draft.put(f"{self.name}.table", self.table.name, note, unsure=not named)
        self.column("id", self.table.columns[self.table.key])
        self.status = status_of(self.table)
        self.taken.add(self.status.name)

    def column(self, role: str, column: Column, note: str = "", *, unsure: bool = False) -> None:
        """Set a role to a column that is known."""
        self.taken.add(column.name)
        meaning = note or ("by its name alone" if unsure else column.type_name)
        self.draft.put(f"{self.name}.{role}", column.name, meaning, unsure=unsure)

    def put_status(self) -> None:
        """Set the status column, with the other columns that it may be as much."""
        patterns = COLUMNS["status"]
        place = next(place for place, pattern in enumerate(patterns) if pattern.fullmatch(folded(self.status.name)))
        rivals = [
            column.name
            for column in self.table.of_kind("word")
            if column is not self.status
            and any(pattern.fullmatch(folded(column.name)) for pattern in patterns[: place + 1])
        ]
        note = f"or {', '.join(rivals)}" if rivals else ""
        self.column("status", self.status, note, unsure=bool(rivals) or place > 0)

    def picked(self, role: str, kind: str, note: str = "") -> Column | None:
        """Set a role to the column that fits by type and name, if there is one."""
        column = pick(self.table, role, kind, self.taken)
        if column is not None:
            self.column(role, column, note, unsure=not picked_surely(column, role))
        return column

    def needed(self, role: str, kind: str, note: str = "") -> None:
        """Set a role that a profile must have; where no column fits, to any other."""
        if self.picked(role, kind, note) is not None:
            return
        free = [each for each in self.table.of_kind(kind) if each.name not in self.taken]
        harmless = [each for each in free if not TEXTS.search(folded(each.name))]
        guess = next(iter(harmless or self.table.of_kind(kind) or self.table.columns.values()))
        self.column(role, guess, f"a guess: no column is called like {role}", unsure=True)

    def word(self, key: str, count: WordCount | None, instead: str, doubt: str = "") -> None:
        """Set a word that a profile must have; ``instead`` where no row has one."""
        if count is None:
            self.draft.put(f"{self.name}.words.{key}", instead, "no row has such a word; correct it", unsure=True)
        else:
            self.draft.put(f"{self.name}.words.{key}", count.word, doubt, unsure=bool(doubt))


def status_of(table: SurveyedTable) -> Column:
    """The status column of a table that was chosen because it has one."""
    status = pick(table, "status", "word")
    assert status is not None
    return status

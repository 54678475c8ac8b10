"""The campaigns that a reading of the queue is about, recognised in any spelling and anywhere in a job."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection

from campaign_ops.core.ids import IdType, TextIds

NOTHING: frozenset[str] = frozenset()
_WORD = re.compile(r"\w+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
# A bare number in a text is mostly not an id but a price, a date or a phone number.
_CAMPAIGN_NUMBER = re.compile(r"campaign\D{0,20}(\d+)", re.IGNORECASE | re.ASCII)


class WantedCampaigns:
    """Some campaigns, by every spelling of their ids."""

    def __init__(self, campaign_ids: Collection[str], ids: IdType) -> None:
        self.everybody = frozenset(campaign_ids)
        """All of them. Doubt that is this very object may concern any campaign."""
        self._ids = ids
        self._by_id = {ids.one(campaign_id) or campaign_id: campaign_id for campaign_id in campaign_ids}
        self._by_folded: dict[str, str] = {}
        self._by_word: dict[str, list[str]] = {}
        if isinstance(ids, TextIds):
            self._by_folded = {_folded(campaign_id): campaign_id for campaign_id in campaign_ids}
            self._by_word = _indexed([folded for folded in self._by_folded if not folded.isdecimal()])

    def get(self, value: object) -> str | None:
        """Return the wanted campaign whose id a JSON value is; None where it is not one of their ids."""
        if isinstance(value, str) and value in self._by_id:
            return self._by_id[value]
        spelled = self._ids.one(value)
        return None if spelled is None else self._by_id.get(spelled)

    def nearly(self, value: object) -> frozenset[str]:
        """Return the wanted campaigns that a value in the place of a campaign's id may mean, though it equals no id.

        A text with extra blanks or other capitals means one; a value that cannot be an id may mean any.
        """
        if isinstance(value, str) and isinstance(self._ids, TextIds) and value.strip():
            folded = self._by_folded.get(_folded(value))
            return NOTHING if folded is None else frozenset({folded})
        return NOTHING if self._ids.one(value) is not None else self.everybody

    def within(self, value: object) -> frozenset[str]:
        """Return the wanted campaigns whose id a value of unknown meaning is, or contains in its text."""
        if (whole := self.get(value)) is not None:
            return frozenset({whole})
        if not isinstance(value, str):
            return NOTHING
        ids = [self._ids.one(match) for match in (*_UUID.findall(value), *_CAMPAIGN_NUMBER.findall(value))]
        mentioned = {self._by_id[one_id] for one_id in ids if one_id in self._by_id}
        if self._by_word:
            folded = _folded(value)
            for word in {*_WORD.findall(folded), ""} & self._by_word.keys():
                mentioned.update(self._by_folded[own] for own in self._by_word[word] if _is_word_of(own, folded))
        return frozenset(mentioned)


def _folded(text: str) -> str:
    return text.strip().lower()


def _indexed(folded_ids: Collection[str]) -> dict[str, list[str]]:
    """Index ids by their rarest word: a text is searched in one pass, however many campaigns are wanted."""
    words = {folded: _WORD.findall(folded) or [""] for folded in folded_ids}
    uses = Counter(word for of_id in words.values() for word in set(of_id))
    index: dict[str, list[str]] = defaultdict(list)
    for folded, of_id in words.items():
        index[min(of_id, key=lambda word: uses[word])].append(folded)
    return dict(index)


def _is_word_of(folded_id: str, text: str) -> bool:
    """Return whether a text contains an id on its own, not as a part of a longer word."""
    return re.search(rf"(?<!\w){re.escape(folded_id)}(?!\w)", text) is not None

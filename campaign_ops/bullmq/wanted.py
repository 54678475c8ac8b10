"""The campaigns that a reading of the queue is about, found in whatever spelling and wherever in a job they stand."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection

from campaign_ops.core.ids import IdType, TextIds

NOTHING: frozenset[str] = frozenset()
_WORD = re.compile(r"\w+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
# A bare number in a text is mostly something else: a price, a date, a phone number.
_CAMPAIGN_NUMBER = re.compile(r"campaign\D{0,20}(\d+)", re.IGNORECASE | re.ASCII)


class WantedCampaigns:
    """Some campaigns, by every spelling of their ids."""

    def __init__(self, campaign_ids: Collection[str], ids: IdType) -> None:
        self.everybody = frozenset(campaign_ids)
        """All of them: what is doubt about this very object may belong to any campaign."""
        self._ids = ids
        self._by_id = {ids.one(one) or one: one for one in campaign_ids}
        self._by_folded: dict[str, str] = {}
        self._by_word: dict[str, list[str]] = {}
        if isinstance(ids, TextIds):
            self._by_folded = {_folded(one): one for one in campaign_ids}
            self._by_word = _indexed([one for one in self._by_folded if not one.isdecimal()])

    def get(self, value: object) -> str | None:
        """The wanted campaign whose id a JSON value is; None where it is none of theirs."""
        if isinstance(value, str) and value in self._by_id:
            return self._by_id[value]
        spelled = self._ids.one(value)
        return None if spelled is None else self._by_id.get(spelled)

    def nearly(self, value: object) -> frozenset[str]:
        """The wanted campaigns that a value may mean which should be a campaign's id and is none of theirs.

        A text with blanks or capitals too many means one; what is no id at all may mean any.
        """
        if isinstance(value, str) and isinstance(self._ids, TextIds) and value.strip():
            folded = self._by_folded.get(_folded(value))
            return NOTHING if folded is None else frozenset({folded})
        return NOTHING if self._ids.one(value) is not None else self.everybody

    def within(self, value: object) -> frozenset[str]:
        """The wanted campaigns whose id a value of unknown meaning is, or holds somewhere in its text."""
        if (whole := self.get(value)) is not None:
            return frozenset({whole})
        if not isinstance(value, str):
            return NOTHING
        spelled = [self._ids.one(one) for one in (*_UUID.findall(value), *_CAMPAIGN_NUMBER.findall(value))]
        found = {self._by_id[one] for one in spelled if one in self._by_id}
        if self._by_word:
            folded = _folded(value)
            for word in {*_WORD.findall(folded), ""} & self._by_word.keys():
                found.update(self._by_folded[one] for one in self._by_word[word] if _stands_in(folded, one))
        return frozenset(found)


def _folded(text: str) -> str:
    return text.strip().lower()


def _indexed(folded_ids: Collection[str]) -> dict[str, list[str]]:
    """Ids by the word of theirs that fewest others have: a text is searched in one pass, however many are wanted."""
    words = {one: _WORD.findall(one) or [""] for one in folded_ids}
    common = Counter(word for of_one in words.values() for word in set(of_one))
    index: dict[str, list[str]] = defaultdict(list)
    for one, of_one in words.items():
        index[min(of_one, key=lambda word: common[word])].append(one)
    return dict(index)


def _stands_in(text: str, wanted: str) -> bool:
    """Whether an id stands in a text on its own, not as a part of a longer word."""
    return re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) is not None

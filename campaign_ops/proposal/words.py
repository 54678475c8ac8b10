"""What status words mean, by the words that applications usually choose and by what their rows have set. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from campaign_ops.postgres.survey import WordCount
from campaign_ops.profile.habits import folded

Meanings = Mapping[str, Sequence[str]]


def sort_words(words: Sequence[WordCount], meanings: Meanings) -> tuple[dict[str, list[WordCount]], list[WordCount]]:
    """The words by their meaning, in the order of ``meanings``, and those whose meaning is not known."""
    sorted_words: dict[str, list[WordCount]] = {meaning: [] for meaning in meanings}
    unknown: list[WordCount] = []
    for count in words:
        meaning = next((meaning for meaning, known in meanings.items() if folded(count.word) in known), None)
        (unknown if meaning is None else sorted_words[meaning]).append(count)
    for meaning, known in meanings.items():
        sorted_words[meaning].sort(key=lambda count: known.index(folded(count.word)))
    return sorted_words, unknown


def usual(counts: Sequence[WordCount], *, set_column: str | None = None) -> WordCount | None:
    """The word that rows have; by preference one whose rows have this column set; without rows the most usual."""
    return max(counts, key=lambda count: (count.set.get(set_column or "", 0), count.rows), default=None)


def counted(words: Sequence[WordCount]) -> str:
    """The words with their counts, for a comment."""
    return ", ".join(f"{count.word} {count.rows:,}" for count in words) or "none"

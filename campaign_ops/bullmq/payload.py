"""The meaning of a job's name and data for the campaigns in question. Pure: works on a job's fields.

A job that carries the profile's campaign and recipient keys covers those recipients, whatever its name. What cannot be
understood is taken neither for coverage nor for its absence: it is doubt about every campaign that it may belong to.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import orjson

from campaign_ops.bullmq.wanted import NOTHING, WantedCampaigns
from campaign_ops.core.ids import JobIds
from campaign_ops.profile.queue import QueueProfile

_SCALARS = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Content:
    """The part of a job that was understood, and the doubt about the rest.

    Attributes:
        campaign_id: The wanted campaign that the job is about; None where it is about none, or is not understood.
        recipient_ids: The recipients it carries.
        doubt: Wanted campaigns that it may be about without saying so clearly.
    """

    campaign_id: str | None = None
    recipient_ids: tuple[str, ...] = ()
    doubt: frozenset[str] = NOTHING


ABOUT_OTHERS = Content()


def named(text: str) -> str:
    """Return a job's id or name fit for a message: an application may give its jobs any name."""
    return text if text.isprintable() else ascii(text)


class PayloadReader:
    """Reads jobs with regard to some campaigns, the wanted ones."""

    def __init__(self, profile: QueueProfile, ids: JobIds, campaign_ids: Collection[str]) -> None:
        self.wanted = WantedCampaigns(campaign_ids, ids.campaign)
        self._recipient_ids = ids.recipient
        self._job_names = {None, profile.job, *profile.further_jobs}
        self._harmless = frozenset(profile.harmless_jobs)
        self._campaign_key = profile.campaign_key
        self._recipients_key = profile.recipients_key
        self._tenant_keys = frozenset(key for key, value in profile.payload.items() if value == "{tenant}")
        self._known_keys = self._tenant_keys | {self._campaign_key, self._recipients_key}

    def read(self, name: str | None, data: str | None) -> Content:
        """Return the wanted campaign that a job is about, its recipients, and the campaigns it leaves in doubt."""
        content = self._read(data, sends=self.is_ours(name))
        return replace(content, doubt=NOTHING) if content.doubt and name in self._harmless else content

    def is_ours(self, name: str | None) -> bool:
        """Return whether the application sends to recipients under this name; a job without a name may do so."""
        return name in self._job_names

    def is_about_others(self, data: str) -> bool:
        """Return whether a payload, whose recipients may have been left out, is certainly about no wanted campaign."""
        try:
            document = _parsed(data)
        except (ValueError, RecursionError):
            return False
        if not (isinstance(document, dict) and self._campaign_key in document):
            return False
        campaign = document.pop(self._campaign_key)
        recipients = document.pop(self._recipients_key, None)
        nested = any(isinstance(value, dict | list) for key, value in document.items() if key not in self._tenant_keys)
        listed = isinstance(recipients, list) and set(map(type, recipients)) <= _SCALARS
        return listed and not nested and self.wanted.get(campaign) is None and not self.wanted.nearly(campaign)

    def _read(self, data: str | None, *, sends: bool) -> Content:
        """Read a job. ``sends``: its name is one under which the application sends."""
        try:
            document = _parsed(data or "null")
        except (ValueError, RecursionError):
            return Content(doubt=self.wanted.everybody if sends else self.wanted.within(data or ""))
        if not (isinstance(document, dict) and self._campaign_key in document and self._recipients_key in document):
            return Content(doubt=self.wanted.everybody if sends else self._mentioned(document))
        campaign, recipients = document[self._campaign_key], document[self._recipients_key]
        wanted = self.wanted.get(campaign)
        if wanted is None:
            if doubt := self.wanted.nearly(campaign):
                return Content(doubt=doubt)
            if not (isinstance(recipients, list) and set(map(type, recipients)) <= _SCALARS):
                return Content(doubt=self._mentioned(document, keys_only=True))
            return self._with_the_rest(ABOUT_OTHERS, document)
        recipient_ids = self._recipient_ids.many(recipients) if isinstance(recipients, list) else None
        if recipient_ids is None:
            return Content(doubt=self._mentioned(document, keys_only=True) | {wanted})
        return self._with_the_rest(Content(wanted, recipient_ids), document)

    def _with_the_rest(self, content: Content, document: dict[str, object]) -> Content:
        """Add doubt about further campaigns under other keys: the job may be a batch of batches."""
        rest = [document[key] for key in document.keys() - self._known_keys if isinstance(document[key], (dict, list))]
        doubt = self._mentioned(rest, keys_only=True) if rest else NOTHING
        return replace(content, doubt=doubt) if doubt else content

    def _mentioned(self, document: object, *, keys_only: bool = False) -> frozenset[str]:
        """Return the wanted campaigns whose id is anywhere in a document, or only under the campaign's own key.

        Recipients that are listed without a campaign may belong to any campaign.
        """
        mentioned: set[str] = set()
        campaign_named = recipients_listed = False
        for key, value in _walk(document):
            if key == self._campaign_key and type(value) in _SCALARS:
                campaign_named = True
                if (wanted := self.wanted.get(value)) is not None:
                    mentioned.add(wanted)
                else:
                    mentioned |= self.wanted.nearly(value)
            elif key == self._recipients_key:
                recipients_listed = True
            elif not keys_only and key not in self._tenant_keys:
                mentioned |= self.wanted.within(value)
        return self.wanted.everybody if recipients_listed and not campaign_named else frozenset(mentioned)


def _walk(document: object) -> Iterator[tuple[str | None, object]]:
    """Yield every value in a document with its key; items of a list have the list's key. JSON in a text is parsed too.

    Keys are yielded as values without a key: a document may hold a dictionary by campaign.
    """
    stack: list[tuple[str | None, object]] = [(None, document)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.items())
            stack.extend((None, inner) for inner in value)
        elif isinstance(value, list):
            stack.extend((key, inner) for inner in value)
        elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            try:
                stack.append((key, _parsed(value)))
            except (ValueError, RecursionError):
                yield key, value
        else:
            yield key, value


def _parsed(data: str) -> object:
    try:
        return orjson.loads(data)
    except ValueError:  # orjson refuses what Node writes for a text that was cut through an emoji
        data.encode()  # bytes that were not UTF-8 appear as lone surrogates and match no id
        return json.loads(data)

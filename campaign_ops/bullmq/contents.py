"""The contents of many jobs for some campaigns, without fetching the recipient ids of other campaigns' jobs.

Most live jobs are about campaigns that are not stuck, and recipient ids are nearly all of a payload: of 5,000 jobs with
64 MB, 4,600 were fetched only to learn that they are about other campaigns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from campaign_ops.bullmq.connection import JOBS_PER_PAGE, QueueConnection, pages
from campaign_ops.bullmq.payload import ABOUT_OTHERS, Content, PayloadReader

CUT_FROM = JOBS_PER_PAGE
"""Up to this number, jobs are read whole, in one round trip."""

# Empties the first list under the recipients' key, unless it holds objects, which may name further campaigns. What is
# left counts only where it parses: a bracket in a text or in an inner list leaves an odd quote or bracket. An error of
# syntax inside the list is not seen: JSON.parse fails on it in every worker, and the campaign's id is still read.
_HEADS = """
local heads = {}
for i = 1, #KEYS do
  local job = redis.call('HMGET', KEYS[i], unpack(ARGV, 2))
  local data, cut = job[2], 0
  local _, first = string.find(data or '', ARGV[1])
  local last = first and string.find(data, ']', first + 1, true)
  local object = last and string.find(data, '{', first + 1, true)
  if last and not (object and object < last) then
    job[2] = string.sub(data, 1, first) .. string.sub(data, last)
    cut = 1
  end
  job[#ARGV] = cut
  heads[i] = job
end
return heads
"""


class Job(NamedTuple):
    """A job as read for some campaigns. ``content`` is None where no job exists under the id."""

    id: str
    name: str | None
    content: Content | None
    more: Sequence[str | None]


def read_contents(
    connection: QueueConnection, payloads: PayloadReader, job_ids: Sequence[str], *more: str
) -> Iterator[Job]:
    """Read jobs page by page, with further fields by name. Within a page the order is not that of ``job_ids``.

    Raises:
        QueueUnavailable: They could not be read to the end.
    """
    cuts = len(job_ids) > CUT_FROM
    others: set[str] = set()  # payloads, cut: those of one campaign are alike
    for page in pages(job_ids, JOBS_PER_PAGE):
        whole: Sequence[str] = page
        if cuts and (heads := _heads(connection, page, more)) is not None:
            whole = []
            for job_id, (name, data, *further, cut) in zip(page, heads, strict=True):
                if not cut:
                    yield _job(payloads, job_id, name, data, further)
                elif data in others or payloads.is_about_others(data):
                    others.add(data)
                    yield Job(job_id, name, ABOUT_OTHERS, further)
                else:
                    whole.append(job_id)
        else:
            cuts = False
        for job_id, (name, data, *further) in connection.fields(whole, "name", "data", *more):
            yield _job(payloads, job_id, name, data, further)


def _job(payloads: PayloadReader, job_id: str, name: str | None, data: str | None, more: Sequence[str | None]) -> Job:
    return Job(job_id, name, None if name is None and data is None else payloads.read(name, data), more)


def _heads(connection: QueueConnection, job_ids: Sequence[str], more: Sequence[str]) -> list[Any] | None:
    """Read (name, data, further fields, whether data was cut) of each job; None where the user may run no script."""
    keys = [connection.job_key(job_id) for job_id in job_ids]
    key = re.sub(r"(\W)", r"%\1", connection.profile.recipients_key, flags=re.ASCII)
    opening = rf'"{key}"%s*:%s*%['
    heads: list[Any] | None = connection.unless_refused(
        "EVAL", _HEADS, len(keys), *keys, opening, "name", "data", *more, default=None
    )
    return heads

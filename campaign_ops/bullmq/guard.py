"""The last check before an add, made inside Redis in the same atomic step as the add itself.

Between our last look at the queue and the add lie rows, markers and the network. One Lua script first asks whether
what was seen still holds, and only then runs BullMQ's own script for each job: nobody can come in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from campaign_ops.core.errors import QueueUnavailable, Refused
from campaign_ops.profile.model import QueueProfile

MAX_NEW_JOBS = 1_000  # judged inside Redis, which does nothing else meanwhile
EVENTS_LOOKED_AT = 10_000  # BullMQ keeps about as many


class LookAgain(Refused):
    """The last look no longer holds: it is too old, or something came that cannot be judged. Nothing was added."""


class NothingAdded(QueueUnavailable):
    """Redis answered that it cannot add: out of memory, no replicas, a missing right. Nothing was added."""


class PartlyAdded(QueueUnavailable):
    """Redis answered with such an error after it had added some of the jobs, ``added``; none of the others."""

    def __init__(self, added: frozenset[str], error: QueueUnavailable) -> None:
        super().__init__(error.what, where=error.where, mend=error.mend)
        self.added = added


@dataclass(frozen=True)
class LastLook:
    """The queue as it stood when it was looked at for the last time before an add.

    Attributes:
        live: Every live job id and its state.
        at: Redis's own clock a moment before, in seconds; None where it may not be asked.
        event: Id of the newest of the queue's events a moment before; None where they cannot be read.
        parts: Of several queues, the look at each by name.
    """

    live: Mapping[str, str]
    at: float | None = None
    event: str | None = None
    parts: Mapping[str, LastLook] = field(default_factory=dict)


@dataclass(frozen=True)
class OtherQueue:
    """A further queue of the platform: a job that came there takes the campaign, too.

    ``prefix`` is that of its keys; ``look`` and ``covering`` are as those of a guard.
    """

    prefix: str
    look: LastLook
    covering: Mapping[str, tuple[str, str | None]]


@dataclass(frozen=True)
class Guard:
    """What must still hold when jobs are added.

    Attributes:
        look: The last look. A job that is not in it is new.
        ours: Jobs of our own: never new.
        covering: Id of each job known to cover somebody, to its campaign and the time it was made: an application may
            use an id again for another job.
        server_id: The Redis process that was looked at; None where it is not known.
        max_seconds: How long ago the look may be.
        others: The platform's other queues.
    """

    look: LastLook
    ours: Collection[str] = ()
    covering: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    server_id: str | None = None
    max_seconds: float = 60
    others: Sequence[OtherQueue] = ()


def canonical(campaign_id: str) -> str:
    """Reduce an id to what its spellings have in common. Two campaigns may share it: then one waits in vain."""
    return re.sub(r"[^A-Za-z0-9]", "", campaign_id).lower().lstrip("0")


def _mention(campaign_id: str) -> str:
    """A Lua pattern that finds the id as a word in any text in lower case, however its parts are joined."""
    words = re.findall(r"[a-z0-9]+", campaign_id.lower())
    if not words:
        return ""  # found everywhere
    zeros = "0*" if words[0].isdigit() else ""
    return f"%f[%w]{zeros}{'[^%w]*'.join(words)}%f[%W]"


def packed(guard: Guard | None, campaign_ids: Collection[str], profile: QueueProfile) -> bytes:
    """The guard as the script reads it. Without one, only the queue's pause and taken ids keep a job out."""
    conditions: dict[str, Any] = {}
    if guard is not None:
        wanted = set(campaign_ids)
        conditions = {
            **_seen(guard.look, guard.covering, guard.ours, wanted),
            "others": [
                {"prefix": one.prefix, **_seen(one.look, one.covering, guard.ours, wanted)} for one in guard.others
            ],
            "server": guard.server_id or "",
            "deadline": -1 if guard.look.at is None else guard.look.at + guard.max_seconds,
            "sends": dict.fromkeys((profile.job, *profile.further_jobs), True),
            "harmless": dict.fromkeys(profile.harmless_jobs, True),
            "mentions": [(_mention(campaign), canonical(campaign)) for campaign in sorted(wanted)],
            "campaign_key": profile.campaign_key.lower(),
            "recipients_key": profile.recipients_key.lower(),
        }
    # Ids may be any bytes: they stand as lone surrogates in ours.
    return json.dumps(conditions, ensure_ascii=False).encode(errors="surrogateescape")


def _seen(
    look: LastLook,
    covering: Mapping[str, tuple[str, str | None]],
    ours: Collection[str],
    wanted: Collection[str],
) -> dict[str, Any]:
    """What was seen of one queue."""
    about = [(job_id, one) for job_id, one in covering.items() if one[0] in wanted]
    return {
        "known": [*look.live, *ours],
        "covering": [(job_id, made or "", canonical(campaign)) for job_id, (campaign, made) in about],
        "event": look.event or "",
    }


def script(add_job: str) -> str:
    """The text of the guarded add around BullMQ's own script for one job."""
    bounds = f"local MAX_NEW, MAX_EVENTS = {MAX_NEW_JOBS}, {EVENTS_LOOKED_AT}"
    return f"{bounds}\nlocal function add_job(KEYS, ARGV)\n{add_job}\nend\n{_GUARDED}"


def refusal(answer: Sequence[Any], where: str) -> Refused:
    """What the script's refusal means."""
    match answer[0]:
        case "paused":
            return Refused("nothing is added to this queue: it is paused", where=where, mend="resume it first")
        case "replaced":
            return Refused(
                "nothing is added to this queue: Redis was restarted or replaced since it was looked at",
                where=where,
                mend="the next sweep looks again",
            )
        case "late":
            return LookAgain(
                "nothing is added to this queue: it is too long ago that it was looked at",
                where=where,
                mend="the next sweep looks again",
            )
        case _:
            return LookAgain(
                f"job {answer[1]} came meanwhile and cannot be read, so it may cover anybody",
                where=where,
                mend="the next sweep looks again",
            )


# KEYS: the six live states, lists first; meta; events; then those of BullMQ's script.
# ARGV: the prefix of job keys; the guard; how many arguments BullMQ's script takes; then for each job its id, its
# campaign, and these arguments.
# Answer: {"added", the outcome of each job, {error} where Redis refused one: then the rest was not tried}, or
# {why the guard does not hold, more}.
_GUARDED = r"""
local prefix, guard, size = ARGV[1], cjson.decode(ARGV[2]), tonumber(ARGV[3])
local taken = {}

local function canonical(id)
  local plain = string.gsub(string.gsub(string.lower(id), '^(%s*[+-]?%d+)%.0*%s*$', '%1'), '[^%w]', '')
  return (string.gsub(string.gsub(plain, '^urnuuid', ''), '^0+', ''))
end

-- Which campaigns a new job may be about; false where it may be about any. The exact reading is another look's.
local function campaigns_of(job_key)
  local job = redis.call('HMGET', job_key, 'name', 'data')
  if not job[2] then return false end
  local text, values, found = string.lower(job[2]), {}, {}
  local key = '"' .. string.gsub(guard.campaign_key, '[^%w]', '%%%0') .. '"%s*:%s*'
  for value in string.gmatch(text, key .. '"([^"]*)"') do values[#values + 1] = value end
  for value in string.gmatch(text, key .. '([^"%s,}%]][^,}%]]*)') do values[#values + 1] = value end
  local clear = #values > 0 and not string.find(text, guard.campaign_key .. '\\', 1, true)
  for _, value in ipairs(values) do
    clear = clear and not string.find(value, '\\', 1, true)
    found[canonical(value)] = true
  end
  if clear or guard.harmless[job[1]] then return found end
  if guard.sends[job[1]] or string.find(text, '"' .. guard.recipients_key .. '"', 1, true) then return false end
  for _, mention in ipairs(guard.mentions) do
    if string.find(text, mention[1]) then found[mention[2]] = true end
  end
  return found
end

if redis.call('HEXISTS', KEYS[7], 'paused') == 1 then return {'paused'} end

if guard.known then
  -- Some users may ask neither; then nobody tells us.
  local info = redis.pcall('INFO', 'server')
  local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)')
  if run_id and guard.server ~= '' and run_id ~= guard.server then return {'replaced'} end
  local clock = redis.pcall('TIME')
  if not clock.err and guard.deadline >= 0 and clock[1] + clock[2] / 1000000 > guard.deadline then
    return {'late'}
  end

  -- What came to a queue since it was seen takes its campaigns; the job that may be about any is returned.
  local function judge(seen, prefix, states, events_key)
    local known, new = {}, {}
    for _, id in ipairs(seen.known) do known[id] = true end
    local function note(id)
      if not known[id] and not string.find(id, '^0:%d+$') then
        known[id] = true
        new[#new + 1] = id
      end
    end
    for state = 1, 6 do
      for _, id in ipairs(redis.call(state <= 3 and 'LRANGE' or 'ZRANGE', states[state], 0, -1)) do note(id) end
    end
    -- Jobs that came and went since then stand in no state; the events name them.
    local events = seen.event ~= '' and redis.pcall('XRANGE', events_key, seen.event, '+', 'COUNT', MAX_EVENTS) or {}
    for _, event in ipairs(events.err and {} or events) do
      for field = 1, #event[2], 2 do
        if event[1] ~= seen.event and event[2][field] == 'jobId' then note(event[2][field + 1]) end
      end
    end
    if #new > MAX_NEW then return new[1] end
    for _, id in ipairs(new) do
      local campaigns = campaigns_of(prefix .. id)
      if not campaigns then return id end
      for campaign in pairs(campaigns) do taken[campaign] = true end
    end
    for _, job in ipairs(seen.covering) do
      local made = redis.call('HGET', prefix .. job[1], 'timestamp')
      if made and made ~= job[2] then taken[job[3]] = true end
    end
  end

  local unclear = judge(guard, prefix, KEYS, KEYS[8])
  if unclear then return {'unclear', unclear} end
  for _, other in ipairs(guard.others) do
    local states = {}
    for state = 1, 6 do states[state] = other.prefix .. string.match(KEYS[state], '[^:]+$') end
    unclear = judge(other, other.prefix, states, other.prefix .. 'events')
    if unclear then return {'unclear', unclear} end
  end
end

local function in_a_state(id)
  for list = 1, 3 do
    for _, there in ipairs(redis.call('LRANGE', KEYS[list], 0, -1)) do
      if there == id then return true end
    end
  end
  for set = 4, 6 do
    if redis.call('ZSCORE', KEYS[set], id) then return true end
  end
  return false
end

local keys, answer = {unpack(KEYS, 9)}, {'added'}
for first = 4, #ARGV, size + 2 do
  local id, campaign = ARGV[first], canonical(ARGV[first + 1])
  if taken[campaign] then
    answer[#answer + 1] = 'overtaken'
  elseif redis.call('EXISTS', prefix .. id) == 1 then
    answer[#answer + 1] = 'exists'
  else
    local fine, added = pcall(add_job, keys, {unpack(ARGV, first + 2, first + 1 + size)})
    if not fine then
      -- What was written before the error stays: Redis takes nothing back. BullMQ puts a job into its state before it
      -- writes marker and event, so the job may be there; a job that is in no state is only a hash, which goes.
      if in_a_state(id) then
        answer[#answer + 1] = 'added'
      else
        pcall(redis.call, 'DEL', prefix .. id)
      end
      answer[#answer + 1] = {type(added) == 'table' and added.err or tostring(added)}
      return answer
    end
    answer[#answer + 1] = added == id and 'added' or 'dropped'
  end
end
return answer
"""

-- Adds jobs by BullMQ's own script, `add_job`, if what was seen of the queue still holds. Redis runs all of this as one
-- atomic step.
--
-- KEYS: the six live states, lists first; meta; events; then those of BullMQ's script.
-- ARGV: the prefix of job keys; the guard as JSON; the number of arguments that BullMQ's script takes; then for each job
-- its id, its campaign, and these arguments.
-- Answer: {"added", the outcome of each job, {error} where Redis refused one: then the rest was not tried}, or
-- {the reason why nothing was added, more}.
local prefix, guard, size = ARGV[1], cjson.decode(ARGV[2]), tonumber(ARGV[3])
local taken = {}

-- As `states.is_marker`.
local function is_marker(id)
  local moment = string.match(id, '^0:(%d+)$') or string.match(id, '^0:(%d+)%.%d+$')
  return id == '0:0' or (moment and #moment == 13)
end

local function canonical(id)
  local plain = string.gsub(string.gsub(string.lower(id), '^(%s*[+-]?%d+)%.0*%s*$', '%1'), '[^%w]', '')
  return (string.gsub(string.gsub(plain, '^urnuuid', ''), '^0+', ''))
end

-- The campaigns that a new job may be about; false where it may be about any. Only the next look reads it exactly.
-- ``name``: the job's name as an event has it, where it is gone.
local function campaigns_of(job_key, name)
  local job = redis.call('HMGET', job_key, 'name', 'data')
  if not job[2] then return guard.harmless[job[1] or name] and {} end
  local text, values, found = string.lower(job[2]), {}, {}
  local key = '"' .. string.gsub(guard.campaign_key, '[^%w]', '%%%0') .. '"%s*:%s*'
  local clear = not string.find(text, guard.campaign_key .. '\\', 1, true)
  for value in string.gmatch(text, key .. '"([^"]*)"') do
    values[#values + 1] = value
    clear = clear and string.find(value, '%S') and not string.find(value, '\\', 1, true)
  end
  for value in string.gmatch(text, key .. '([^"%s,}%]][^,}%]]*)') do
    values[#values + 1] = value
    clear = clear and string.find(value, '^%-?%d+%.?0*%s*$')
  end
  for _, value in ipairs(values) do
    found[canonical(value)] = true
  end
  local sends = not job[1] or guard.sends[job[1]] or string.find(text, '"' .. guard.recipients_key .. '"', 1, true)
  if guard.harmless[job[1]] or (sends and clear and #values > 0) then return found end
  if sends then return false end
  text = string.gsub(string.gsub(text, '\\u%x%x%x%x', ' '), '\\%a', ' ')
  for _, mention in ipairs(guard.mentions) do
    if string.find(text, mention[1]) then found[mention[2]] = true end
  end
  return found
end

if redis.call('HEXISTS', KEYS[7], 'paused') == 1 then return {'paused'} end

if guard.known then
  -- Some users may run neither; then a restart or a late add goes unnoticed here.
  local info = redis.pcall('INFO', 'server')
  local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)')
  if run_id and guard.server ~= '' and run_id ~= guard.server then return {'replaced'} end
  local clock = redis.pcall('TIME')
  if not clock.err and guard.deadline >= 0 and clock[1] + clock[2] / 1000000 > guard.deadline then
    return {'late'}
  end

  -- Mark as taken the campaigns of every job that came to a queue since it was seen; return the reason to add nothing: a
  -- job that may be about any campaign, or more events than are read here.
  local function judge(seen, prefix, states, events_key)
    local known, new, dated, names = {}, {}, {}, {}
    for _, id in ipairs(seen.known) do known[id] = true end
    -- An id that was seen may be another job's by now.
    for _, job in ipairs(seen.dated) do
      dated[job[1]] = job[2]
      local made = redis.call('HGET', prefix .. job[1], 'timestamp')
      if made and made ~= job[2] then
        known[job[1]] = nil
        taken[job[3]] = true
      end
    end
    local function note(id)
      if not known[id] then
        known[id] = true
        new[#new + 1] = id
      end
    end
    for state = 1, 6 do
      for _, id in ipairs(redis.call(state <= 3 and 'LRANGE' or 'ZRANGE', states[state], 0, -1)) do
        if state > 3 or not is_marker(id) then note(id) end
      end
    end
    -- Jobs that came and went since then are in no state; the events name them.
    local asides = {}
    local events = seen.event ~= '' and redis.pcall('XRANGE', events_key, seen.event, '+', 'COUNT', MAX_EVENTS) or {}
    for _, event in ipairs(events.err and {} or events) do
      local told = {}
      for field = 1, #event[2], 2 do told[event[2][field]] = event[2][field + 1] end
      if event[1] ~= seen.event and told.jobId then
        if told.event == 'added' and dated[told.jobId] then known[told.jobId] = nil end
        if told.event == 'added' then
          -- Of jobs of several names under one id, any may be another one's.
          local before = names[told.jobId]
          names[told.jobId] = (before == nil or before == told.name) and told.name
        end
        note(told.jobId)
        if told.deduplicationId then asides[told.deduplicationId] = true end
      end
    end
    -- The next job with a deduplication id is in no state until another one ends, which was active when it came.
    for _, id in ipairs(redis.call('LRANGE', states[3], 0, -1)) do
      local name = redis.call('HGET', prefix .. id, 'deid')
      if name then asides[name] = true end
    end
    for name in pairs(asides) do
      local aside = redis.call('HMGET', prefix .. 'dn:' .. name, 'name', 'jid')
      if aside[1] and aside[2] ~= dated['dn:' .. name] then new[#new + 1] = 'dn:' .. name end
    end
    if #new > MAX_NEW then return {'unclear', new[1]} end
    if #events == MAX_EVENTS then return {'late'} end
    for _, id in ipairs(new) do
      local campaigns = campaigns_of(prefix .. id, names[id])
      if not campaigns then return {'unclear', id} end
      for campaign in pairs(campaigns) do taken[campaign] = true end
    end
  end

  local why_not = judge(guard, prefix, KEYS, KEYS[8])
  if why_not then return why_not end
  for _, other in ipairs(guard.others) do
    local states = {}
    for state = 1, 6 do states[state] = other.prefix .. string.match(KEYS[state], '[^:]+$') end
    why_not = judge(other, other.prefix, states, other.prefix .. 'events')
    if why_not then return why_not end
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
      -- What was written before the error stays: Redis rolls nothing back. BullMQ puts a job into its state before it
      -- writes marker and event, so the job may be there; a job in no state is only a hash, which is deleted.
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

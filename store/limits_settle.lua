-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- What becomes of leases: charged, settled, run out; and what is used (store/limits.h).

-- Of one generation: the lease's id, then packed doubles: input, cached input, output, what is said.
local WORD, WORD_BYTES, ID_BYTES = '<dddd', 64, 32
local CHARGE, SETTLE, PROVISIONAL, UNUSED, RETURNED, REPORT = 0, 1, 2, 3, 4, 5 -- and more: of which answer

local ids, outcomes = {}, {} -- of the words: 1 done, 2 the difference was added, 0 nothing to do (yet)

-- Both get what is stored of the lease, or false, and give the outcome and what is to be stored of it.
local function charge_lease(id, packed, input, cached, output)
  if not packed then return 0, false end
  read_lease(packed)
  local known = lease[L_CACHED] >= 0 or input > 0
  if lease[L_CACHED] >= 0 or not known then input = lease[L_INPUT] end
  input = min(input, lease[L_INPUT])
  charge(input, known and min(input, max(lease[L_CACHED], cached)) or -1, output, false)
  packed = lease_packed()
  put_lease(id, packed)
  put_due(id, now + LEASE_US)
  return 1, packed
end

-- What was said now, taken together with what was said before. False: not all of the lease's answers are there yet.
local function last_word(answer, input, cached, output)
  if answer >= lease[L_ANSWERS] then return false end
  if answer >= 0 then
    lease_reports = lease_reports or {}
    lease_reports[answer + 1] = {input, cached, output}
    return reported()
  end
  if lease_reports then output = max(output, (select(4, reported()))) end
  return true, input, cached, output
end

-- `answer`: -1 for all of them; `provisional`: a better word may come; `unused`: nothing was made of the request, which is not counted; `returned`: nor can anybody
-- say anything else.
local function settle_lease(id, running, answer, input, cached, output, provisional, unused, returned)
  local packed = running or call('GET', settled_key(id))
  local early = packed and early_reports(packed)
  if early or not packed then
    -- The admission's answer was lost and it may be under way still, on a connection that broke: it must find that it is too late. What a worker
    -- says is kept for one that is made up for.
    local word = ''
    if answer >= 0 then
      early = early or {}
      early[answer + 1] = {input, cached, output}
      word = EARLY .. cmsgpack.pack(early)
    end
    call('SET', settled_key(id), word, 'PX', KEEP_MS)
    return 0, false
  end
  if packed == '' then return 0, false end
  read_lease(packed)
  local complete
  complete, input, cached, output = last_word(answer, input, cached, output)
  if complete and running then
    if unused and input + output + lease[L_OUTPUT] == 0 and not lease_reports then
      forget(id, not returned)
    else
      settle(id, input, cached, output, SETTLED, provisional or unused)
    end
    return 1, false
  end
  if complete then
    correct(id, input, cached, output, provisional or unused)
    return 2, false
  end
  if not running then
    keep_settled(id)
    return 0, false
  end
  packed = lease_packed()
  put_lease(id, packed)
  return 0, packed
end

-- All that is said in `words`; their number. What they say counts in their order.
local function take_words(words)
  local count = #words / WORD_BYTES
  for i = 1, count do ids[i] = sub(words, WORD_BYTES * (i - 1) + 1, WORD_BYTES * (i - 1) + ID_BYTES) end
  local stored = call('HMGET', leases_key, unpack(ids, 1, count))
  local changed = count > 1 and {} or nil -- lease -> what is to be stored of it
  for i = 1, count do
    local id, packed, input, cached, output, what = ids[i], stored[i], numbers(WORD, words, WORD_BYTES * (i - 1) + ID_BYTES + 1)
    if changed and changed[id] ~= nil then packed = changed[id] end
    if what == CHARGE then
      outcomes[i], packed = charge_lease(id, packed, input, cached, output)
    else
      outcomes[i], packed = settle_lease(id, packed, what < REPORT and -1 or what - REPORT, input, cached, output, what == PROVISIONAL, what == UNUSED or what == RETURNED,
                                         what == RETURNED)
    end
    if changed then changed[id] = packed end
  end
  return count
end

-- KEYS  the organisation's state
-- ARGV  packed doubles: time or 0; words, at least one
-- Gives a byte for each word.
local function limits_tell(KEYS, ARGV)
  begin((struct.unpack('<d', ARGV[1])))
  begin_leases(KEYS[1], call('GET', KEYS[1]))
  local count = take_words(ARGV[2])
  commit()
  if is_time_to_reap() then
    reap_in_passing()
    commit()
  end
  return string.char(unpack(outcomes, 1, count))
end

do -- because a chunk of Lua has 200 local names at most
-- KEYS  the organisation's state
-- ARGV  packed doubles: time or 0
-- Gives two packed doubles: how many it has settled, or set aside; how many have ever been set aside.
local function limits_reap(KEYS, ARGV)
  begin((struct.unpack('<d', ARGV[1])))
  begin_leases(KEYS[1], false)
  -- Nobody may hold longer than a lease: where one seems to, the clock was set back.
  local latest = text(now + LEASE_US)
  local ahead = call('ZRANGEBYSCORE', due_key, '(' .. latest, '+inf', 'LIMIT', '0', text(REAP_ALL_MAX))
  for _, id in ipairs(ahead) do call('ZADD', due_key, latest, id) end
  if #ahead > 0 then call('DEL', state_key) end -- when the first one runs out is another time now
  local count = reap(REAP_ALL_MAX)
  commit()
  return pack('<dd', count, call('HLEN', unreadable_key()))
end

-- KEYS  a scope's numbers, the times of its requests
-- ARGV  packed doubles: time or 0
-- Gives nine packed doubles, one for each kind of limit.
local function limits_used(KEYS, ARGV)
  begin((struct.unpack('<d', ARGV[1])))
  local scope = open(KEYS[1])
  local length = call('LLEN', KEYS[2])
  local low = before_last_second(KEYS[2], length)
  store_scopes()
  local tokens = scope[HELD_OUTPUT]
  return pack('<ddddddddd', length - low, scope[REQUESTS], scope[INPUT], scope[OUTPUT] + tokens, scope[INPUT] + scope[OUTPUT] + tokens,
              scope[DAY_TOKENS] + tokens, scope[MONTH_TOKENS] + tokens, scope[STREAMS], scope[MONTH_SPEND] + scope[HELD_SPEND])
end

redis.register_function('limits_reap_' .. VERSION, limits_reap)
redis.register_function('limits_used_' .. VERSION, limits_used)
end

-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- What becomes of leases: charged, settled, run out; and what is used (store/limits.h).

-- KEYS  leases, due, outbox
-- ARGV  lease; packed doubles: time or 0, input, cached input, output
-- Gives 1, or 0 when there is no such lease.
local function limits_charge(KEYS, ARGV)
  local id = ARGV[1]
  local time, _, cached, output = struct.unpack('<dddd', ARGV[2])
  begin(time)
  begin_leases(KEYS[1], KEYS[2], KEYS[3])
  local packed = call('HGET', leases_key, id)
  if packed then
    local lease = cmsgpack.unpack(packed)
    charge(lease, lease[L_INPUT], min(lease[L_INPUT], max(lease[L_CACHED], cached)), output, false)
    call('HSET', leases_key, id, cmsgpack.pack(lease))
    call('ZADD', due_key, text(now + LEASE_US), id)
  end
  reap(REAP_MAX)
  store_scopes()
  return packed and 1 or 0
end

-- The word on a lease that was said in a call, taken together with what was said before. False: not all of its answers are there yet.
local function last_word(lease, answer, input, cached, output)
  if answer >= lease[L_ANSWERS] then return false end
  if answer >= 0 then
    lease[L_REPORTS] = lease[L_REPORTS] or {}
    lease[L_REPORTS][answer + 1] = {input, cached, output}
    return reported(lease)
  end
  if lease[L_REPORTS] then output = max(output, (select(4, reported(lease)))) end
  return true, input, cached, output
end

-- KEYS  leases, due, outbox, settled
-- ARGV  lease; packed doubles: time or 0, input, cached input, output, 1 when a better word may come, answer or -1 for all of them
-- Gives 1 settled now, 2 the difference was added, 0 nothing to settle (yet).
local function limits_settle(KEYS, ARGV)
  local id = ARGV[1]
  local time, input, cached, output, provisional, answer = struct.unpack('<dddddd', ARGV[2])
  begin(time)
  begin_leases(KEYS[1], KEYS[2], KEYS[3])
  local result = 0
  local running = call('HGET', leases_key, id)
  local packed = running or call('GET', KEYS[4])
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
    call('SET', KEYS[4], word, 'PX', KEEP_MS)
  elseif packed ~= '' then
    local lease, complete = cmsgpack.unpack(packed), nil
    complete, input, cached, output = last_word(lease, answer, input, cached, output)
    if complete and running then
      settle(id, lease, input, cached, output, 'settled', provisional ~= 0)
      result = 1
    elseif complete then
      correct(id, lease, input, cached, output, provisional ~= 0)
      result = 2
    elseif running then
      call('HSET', leases_key, id, cmsgpack.pack(lease))
    else
      keep_settled(id, lease)
    end
  end
  reap(REAP_MAX)
  store_scopes()
  return result
end

-- KEYS  leases, due, outbox
-- ARGV  packed doubles: time or 0
-- Gives how many it has settled.
local function limits_reap(KEYS, ARGV)
  begin((struct.unpack('<d', ARGV[1])))
  begin_leases(KEYS[1], KEYS[2], KEYS[3])
  -- Nobody may hold longer than a lease: where one seems to, the clock was set back.
  local latest = text(now + LEASE_US)
  for _, id in ipairs(call('ZRANGEBYSCORE', due_key, '(' .. latest, '+inf', 'LIMIT', '0', text(REAP_ALL_MAX))) do
    call('ZADD', due_key, latest, id)
  end
  local count = reap(REAP_ALL_MAX)
  store_scopes()
  return count
end

-- KEYS  a scope's numbers, its slices, the times of its requests
-- ARGV  packed doubles: time or 0
-- Gives nine packed doubles, one for each kind of limit.
local function limits_used(KEYS, ARGV)
  begin((struct.unpack('<d', ARGV[1])))
  local scope = open(KEYS[1], KEYS[2])
  local low, length = 0, call('LLEN', KEYS[3])
  local high = length
  while low < high do -- the first time that is inside the last second
    local middle = floor((low + high) / 2)
    if tonumber(call('LINDEX', KEYS[3], text(middle))) > now - SECOND_US then high = middle else low = middle + 1 end
  end
  store_scopes()
  local tokens = scope[HELD_OUTPUT]
  return pack('<ddddddddd', length - low, scope[REQUESTS], scope[INPUT], scope[OUTPUT] + tokens, scope[INPUT] + scope[OUTPUT] + tokens,
              scope[DAY_TOKENS] + tokens, scope[MONTH_TOKENS] + tokens, scope[STREAMS], scope[MONTH_SPEND] + scope[HELD_SPEND])
end

redis.register_function('limits_admit_' .. VERSION, limits_admit)
redis.register_function('limits_charge_' .. VERSION, limits_charge)
redis.register_function('limits_settle_' .. VERSION, limits_settle)
redis.register_function('limits_reap_' .. VERSION, limits_reap)
redis.register_function('limits_used_' .. VERSION, limits_used)

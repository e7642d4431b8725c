-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Admit a request or take nothing (store/limits.h).
local OUTBOX_MAX = 1000000 -- entries that nobody has fetched: no more usage is let in than can be accounted for
local ADMITTED, DENIED, NEVER_FITS, KEY_CLOSED = 0, 1, 2, 3
local PER_SECOND, PER_MINUTE, INPUT_PER_MINUTE, OUTPUT_PER_MINUTE, TOKENS_PER_MINUTE, TOKENS_PER_DAY, TOKENS_PER_MONTH, RUNNING, SPEND_PER_MONTH =
  1, 2, 3, 4, 5, 6, 7, 8, 9
local KINDS, NINE, ANSWER = 9, '<ddddddddd', '<ddddddddddddddddddddddd'
local KEYS_FIXED, ARGUMENTS_FIXED = 5, 7
-- What a slice counts for, of its requests, input and output.
local COLUMNS = {[PER_MINUTE] = {1, 0, 0}, [INPUT_PER_MINUTE] = {0, 1, 0}, [OUTPUT_PER_MINUTE] = {0, 0, 1}, [TOKENS_PER_MINUTE] = {0, 1, 1}}

-- The request that is being looked at.
local input, input_cost, output_price
local granted -- as much of its output as there is room for
local needs = {} -- at least, by kind
local tightest, remaining = {}, {} -- by kind; -1: unlimited
local longest, denied_kind, denied_scope, never -- the limit that keeps it out

local function answer(outcome, kind, index, wait_us, output)
  store_scopes()
  local t, r = tightest, remaining
  return pack(ANSWER, outcome, kind, index, wait_us, output, t[1], r[1], t[2], r[2], t[3], r[3], t[4], r[4], t[5], r[5], t[6], r[6], t[7], r[7],
              t[8], r[8], t[9], r[9])
end

-- The times of requests before the last second go; those of a clock that was set back count as now.
local function tidy_times(scope, times)
  if scope[LAST_REQUEST] > now then
    local length, copies = call('LLEN', times), {}
    if length > 0 then
      call('DEL', times)
      for i = 1, min(length, 1000) do copies[i] = now_text end
      for i = 1, length, 1000 do call('RPUSH', times, unpack(copies, 1, min(1000, length - i + 1))) end
      call('PEXPIRE', times, '10000')
    end
    scope[LAST_REQUEST], scope.changed = now, true
  end
  local gone = 0
  for i, at in ipairs(call('LRANGE', times, '0', '15')) do
    if tonumber(at) > now - SECOND_US then break end
    gone = i
  end
  if gone > 0 then call('LPOP', times, text(gone)) end
end

-- Requests that still fit into this second, and how long it takes until there is one.
local function room_of_second(scope, times, limit)
  if limit == 0 then return 0, 0 end
  tidy_times(scope, times)
  local length = call('LLEN', times)
  if length < limit then return limit - length, 0 end
  local at = tonumber(call('LINDEX', times, text(-limit)))
  if at <= now - SECOND_US then return 1, 0 end
  return 0, at + SECOND_US - now
end

-- When `excess` has left the minute. What is held goes nobody knows when: a second is as good as any.
local function wait_of_minute(scope, kind, excess)
  local of_requests, of_input, of_output = unpack(COLUMNS[kind])
  if excess > of_requests * scope[REQUESTS] + of_input * scope[INPUT] + of_output * scope[OUTPUT] then return SECOND_US end
  local from = 0
  while scope[OLDEST] > 0 do
    local part = call('LRANGE', scope.win, text(from), text(from + 15))
    for _, packed in ipairs(part) do
      local number, requests, slice_input, slice_output = numbers('<dddd', packed)
      excess = excess - of_requests * requests - of_input * slice_input - of_output * slice_output
      if excess <= 0 then return (number + MINUTE + 1) * SLICE_US - now end
    end
    if #part < 16 then break end
    from = from + 16
  end
  return (scope[LAST] + MINUTE + 1) * SLICE_US - now
end

local function wait(scope, kind, excess)
  if kind == RUNNING then return SECOND_US end
  if kind <= TOKENS_PER_MINUTE then return wait_of_minute(scope, kind, excess) end
  if kind == TOKENS_PER_DAY then return excess <= scope[DAY_TOKENS] and (scope[DAY] + 1) * DAY_US - now or SECOND_US end
  if excess > (kind == TOKENS_PER_MONTH and scope[MONTH_TOKENS] or scope[MONTH_SPEND]) then return SECOND_US end
  return first_day_of(scope[MONTH] + 1) * DAY_US - now
end

-- The most tokens, up to `most`, that money buys.
local function affordable(most, money)
  if cost(most, output_price) <= money then return most end
  local tokens = min(most, floor(money / output_price * 1e6) + 2)
  while cost(tokens, output_price) > money do tokens = tokens - 1 end
  return tokens
end

local function set_needs(tokens)
  local both = input + tokens
  needs[PER_SECOND], needs[PER_MINUTE], needs[INPUT_PER_MINUTE], needs[OUTPUT_PER_MINUTE], needs[TOKENS_PER_MINUTE] = 1, 1, input, tokens, both
  needs[TOKENS_PER_DAY], needs[TOKENS_PER_MONTH], needs[RUNNING], needs[SPEND_PER_MONTH] = both, both, 1, input_cost + cost(tokens, output_price)
end

-- What counts in a scope against the limit of a kind other than requests per second: charged and held.
local function used_of(scope, kind)
  if kind == PER_MINUTE then return scope[REQUESTS] end
  if kind == INPUT_PER_MINUTE then return scope[INPUT] end
  if kind == OUTPUT_PER_MINUTE then return scope[OUTPUT] + scope[HELD_OUTPUT] end
  if kind == TOKENS_PER_MINUTE then return scope[INPUT] + scope[OUTPUT] + scope[HELD_OUTPUT] end
  if kind == TOKENS_PER_DAY then return scope[DAY_TOKENS] + scope[HELD_OUTPUT] end
  if kind == TOKENS_PER_MONTH then return scope[MONTH_TOKENS] + scope[HELD_OUTPUT] end
  if kind == RUNNING then return scope[STREAMS] end
  return scope[MONTH_SPEND] + scope[HELD_SPEND]
end

local function look_at(scope, index, kind, limit, times)
  local left, delay
  if kind == PER_SECOND then left, delay = room_of_second(scope, times, limit) else left = limit - used_of(scope, kind) end
  if tightest[kind] < 0 or left < remaining[kind] then tightest[kind], remaining[kind] = limit, max(0, left) end
  local need = needs[kind]
  if limit == 0 or need > limit then
    if not never then never, denied_kind, denied_scope = true, kind - 1, index - 1 end
  elseif need > left then
    delay = delay or wait(scope, kind, need - left)
    if not never and delay > longest then longest, denied_kind, denied_scope = delay, kind - 1, index - 1 end
  elseif kind == OUTPUT_PER_MINUTE then
    granted = min(granted, left)
  elseif kind >= TOKENS_PER_MINUTE and kind <= TOKENS_PER_MONTH then
    granted = min(granted, left - input)
  elseif kind == SPEND_PER_MONTH then
    granted = affordable(granted, left - input_cost)
  end
end

local function look_at_all(scopes, times, KEYS, ARGV)
  local count = (#ARGV - ARGUMENTS_FIXED) / 2
  local next_times = KEYS_FIXED + 2 * count + 1
  for index = 1, count do
    local scope = open(KEYS[KEYS_FIXED + 2 * index - 1], KEYS[KEYS_FIXED + 2 * index])
    local limits = {numbers(NINE, ARGV[ARGUMENTS_FIXED + 2 * index])}
    if limits[PER_SECOND] >= 0 then times[index], next_times = KEYS[next_times], next_times + 1 end
    scopes[index] = scope
    for kind = 1, KINDS do
      if limits[kind] >= 0 then look_at(scope, index, kind, limits[kind], times[index]) end
    end
  end
end

-- Charge the input, hold the output, in every scope.
local function take(lease, scopes, times, ARGV)
  local spend = needs[SPEND_PER_MONTH] - input_cost
  for index, scope in ipairs(scopes) do
    lease[#lease + 1] = ARGV[ARGUMENTS_FIXED + 2 * index - 1]
    lease[#lease + 1] = scope[EPOCH]
    add(scope, 1, input, 0, input_cost)
    scope[HELD_OUTPUT], scope[HELD_SPEND], scope[STREAMS] = scope[HELD_OUTPUT] + granted, scope[HELD_SPEND] + spend, scope[STREAMS] + 1
    if times[index] then
      call('RPUSH', times[index], now_text)
      if floor(now / SECOND_US) > floor(scope[LAST_REQUEST] / SECOND_US) then call('PEXPIRE', times[index], '10000') end
    end
    scope[LAST_REQUEST] = now
  end
end

-- KEYS  gate, settled, leases, due, outbox; for each scope its numbers and its slices; for each scope that limits requests per second their times
-- ARGV  lease; packed doubles: time or 0, 1 to peek or 2 where it has passed already, input, output, optional, answers, prices of input, cached input and output;
--       key, workspace, model, endpoint, request id; for each scope its name and its nine limits, packed doubles, -1: unlimited
-- Gives packed doubles: outcome, kind and index of the scope that keep it out, microseconds until it passes, output held, then for each kind the
-- limit and what remains in the tightest scope.
local function limits_admit(KEYS, ARGV)
  local time, peek, all_input, output, optional, answers, price, cached_price, price_of_output = struct.unpack(NINE, ARGV[2])
  begin(time)
  begin_leases(KEYS[3], KEYS[4], KEYS[5])
  for kind = 1, KINDS do tightest[kind], remaining[kind] = -1, -1 end
  local late, reports = peek == 2, false
  if late and call('HEXISTS', leases_key, ARGV[1]) == 1 then return answer(ADMITTED, -1, -1, 0, output) end -- it was asked for, and the answer was lost
  if call('EXISTS', KEYS[1], KEYS[2]) > 0 then
    if not late and call('EXISTS', KEYS[1]) > 0 then return answer(KEY_CLOSED, -1, -1, 0, 0) end
    local word = call('GET', KEYS[2])
    if late and word then reports = early_reports(word) end
    if word and not reports then return redis.error_reply('ERR the lease was settled before it was admitted') end -- this call was late; nobody waits for it
  end
  if call('XLEN', outbox_key) >= OUTBOX_MAX then return redis.error_reply('BUSY the outbox of usage is full') end
  reap(REAP_MAX)

  input, input_cost, output_price, granted = all_input, input_cost_max(all_input, price, cached_price), price_of_output, output
  longest, denied_kind, denied_scope, never = 0, -1, -1, false
  set_needs(output - optional)
  local scopes, times = {}, {}
  look_at_all(scopes, times, KEYS, ARGV)
  if never and not late then return answer(NEVER_FITS, denied_kind, denied_scope, 0, 0) end
  if longest > 0 and not late then return answer(DENIED, denied_kind, denied_scope, longest, 0) end
  if late then granted = output end

  set_needs(granted)
  for kind = 1, KINDS do
    if tightest[kind] >= 0 then remaining[kind] = remaining[kind] - needs[kind] end
  end
  if peek ~= 1 then
    local lease = {ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], price, cached_price, output_price, slice, day, input, 0, 0, input_cost, granted,
                   answers, reports, false, floor(now / 1000)}
    if reports then call('DEL', KEYS[2]) end
    take(lease, scopes, times, ARGV)
    call('HSET', leases_key, ARGV[1], cmsgpack.pack(lease))
    call('ZADD', due_key, text(now + LEASE_US), ARGV[1])
  end
  return answer(ADMITTED, -1, -1, 0, granted)
end

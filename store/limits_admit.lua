-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Admit a request or take nothing (store/limits.h).
--
-- KEYS  gate, settled, leases, due, outbox; for each scope its numbers and its slices; for each scope that limits requests per second their times
-- ARGV  lease; packed doubles: time or 0, peek, input, output, optional, answers, prices of input, cached input and output;
--       key, workspace, model, endpoint, request id; for each scope its name and its nine limits, packed doubles, -1: unlimited
-- Gives packed doubles: outcome, kind and index of the scope that keep it out, microseconds until it passes, output held, then for each kind the
-- limit and what remains in the tightest scope.
local OUTBOX_MAX = 1000000 -- entries that nobody has fetched: no more usage is let in than can be accounted for
local ADMITTED, DENIED, NEVER_FITS, KEY_CLOSED = 0, 1, 2, 3
local PER_SECOND, PER_MINUTE, INPUT_PER_MINUTE, OUTPUT_PER_MINUTE, TOKENS_PER_MINUTE, TOKENS_PER_DAY, TOKENS_PER_MONTH, RUNNING, SPEND_PER_MONTH =
  1, 2, 3, 4, 5, 6, 7, 8, 9
local KINDS, NINE, ANSWER = 9, '<ddddddddd', '<ddddddddddddddddddddddd'
local KEYS_FIXED, ARGUMENTS_FIXED = 5, 7

local id = ARGV[1]
local time, peek, input, output, optional, answers, price, cached_price, output_price = numbers(NINE, ARGV[2])
start_clock(time)
start(KEYS[3], KEYS[4], KEYS[5])

local tightest, remaining = {-1, -1, -1, -1, -1, -1, -1, -1, -1}, {-1, -1, -1, -1, -1, -1, -1, -1, -1}
local function answer(outcome, kind, index, wait_us, granted)
  store_scopes()
  local room = {}
  for i = 1, KINDS do room[2 * i - 1], room[2 * i] = tightest[i], remaining[i] end
  return pack(ANSWER, outcome, kind, index, wait_us, granted, unpack(room))
end

if call('EXISTS', KEYS[1], KEYS[2]) > 0 then
  if call('EXISTS', KEYS[1]) > 0 then return answer(KEY_CLOSED, -1, -1, 0, 0) end
  return redis.error_reply('ERR the lease was settled before it was admitted') -- this call was late; nobody waits for it
end
if call('XLEN', keys.outbox) >= OUTBOX_MAX then return redis.error_reply('BUSY the outbox of usage is full') end
reap(REAP_MAX)

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
local COLUMNS = {[PER_MINUTE] = {1, 0, 0}, [INPUT_PER_MINUTE] = {0, 1, 0}, [OUTPUT_PER_MINUTE] = {0, 0, 1}, [TOKENS_PER_MINUTE] = {0, 1, 1}}
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

local input_cost = input_cost_max(input, price, cached_price)
local function needs(tokens)
  local both = input + tokens
  return {1, 1, input, tokens, both, both, both, 1, input_cost + cost(tokens, output_price)}
end

local least = needs(output - optional)
local granted = output -- as much as there is room for
local longest, denied_kind, denied_scope, never = 0, -1, -1, false
local scopes, times = {}, {}
local next_times = KEYS_FIXED + 2 * ((#ARGV - ARGUMENTS_FIXED) / 2) + 1

local function look_at(scope, index, kind, limit, used)
  local left, delay = limit - used, 0
  if kind == PER_SECOND then left, delay = room_of_second(scope, times[index], limit) end
  if tightest[kind] < 0 or left < remaining[kind] then tightest[kind], remaining[kind] = limit, left end
  if limit == 0 or least[kind] > limit then
    if not never then never, denied_kind, denied_scope = true, kind - 1, index - 1 end
  elseif least[kind] > left then
    if kind ~= PER_SECOND then delay = wait(scope, kind, least[kind] - left) end
    if not never and delay > longest then longest, denied_kind, denied_scope = delay, kind - 1, index - 1 end
  elseif kind == OUTPUT_PER_MINUTE then
    granted = min(granted, left)
  elseif kind >= TOKENS_PER_MINUTE and kind <= TOKENS_PER_MONTH then
    granted = min(granted, left - input)
  elseif kind == SPEND_PER_MONTH then
    granted = min(granted, affordable(granted, left - input_cost))
  end
end

for index = 1, (#ARGV - ARGUMENTS_FIXED) / 2 do
  local scope = open(KEYS[KEYS_FIXED + 2 * index - 1], KEYS[KEYS_FIXED + 2 * index])
  local limits = {numbers(NINE, ARGV[ARGUMENTS_FIXED + 2 * index])}
  if limits[PER_SECOND] >= 0 then times[index], next_times = KEYS[next_times], next_times + 1 end
  scopes[index] = scope
  local tokens = scope[HELD_OUTPUT]
  local used = {0, scope[REQUESTS], scope[INPUT], scope[OUTPUT] + tokens, scope[INPUT] + scope[OUTPUT] + tokens, scope[DAY_TOKENS] + tokens,
                scope[MONTH_TOKENS] + tokens, scope[STREAMS], scope[MONTH_SPEND] + scope[HELD_SPEND]}
  for kind = 1, KINDS do
    if limits[kind] >= 0 then look_at(scope, index, kind, limits[kind], used[kind]) end
  end
end

if never or longest > 0 then
  for kind = 1, KINDS do if tightest[kind] >= 0 then remaining[kind] = max(0, remaining[kind]) end end
  return answer(never and NEVER_FITS or DENIED, denied_kind, denied_scope, never and 0 or longest, 0)
end
local taken = needs(granted)
for kind = 1, KINDS do if tightest[kind] >= 0 then remaining[kind] = remaining[kind] - taken[kind] end end
if peek ~= 0 then return answer(ADMITTED, -1, -1, 0, granted) end

local lease = {ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], price, cached_price, output_price, slice, day, input, 0, 0, input_cost, granted,
               answers, false, false}
for index, scope in ipairs(scopes) do
  lease[#lease + 1], lease[#lease + 2] = ARGV[ARGUMENTS_FIXED + 2 * index - 1], scope[EPOCH]
  add(scope, 1, input, 0, input_cost)
  scope[HELD_OUTPUT], scope[STREAMS] = scope[HELD_OUTPUT] + granted, scope[STREAMS] + 1
  scope[HELD_SPEND] = scope[HELD_SPEND] + taken[SPEND_PER_MONTH] - input_cost
  if times[index] then
    call('RPUSH', times[index], now_text)
    if floor(now / SECOND_US) > floor(scope[LAST_REQUEST] / SECOND_US) then call('PEXPIRE', times[index], '10000') end
  end
  scope[LAST_REQUEST] = now
end
call('HSET', keys.leases, id, cmsgpack.pack(lease))
call('ZADD', keys.due, text(now + LEASE_US), id)
return answer(ADMITTED, -1, -1, 0, granted)

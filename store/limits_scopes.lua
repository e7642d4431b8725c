-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- The scopes of limits and their windows. All limits_*.lua together are one library of Redis functions (store/limits.c puts them together), because what a
-- script would set up for each call, a library sets up once.
--
-- A scope is two keys (and a third where requests per second are limited):
--   bora:use:{org}:<scope>   18 doubles, the numbers below: sums of the windows, what leases hold, the slice that is being filled
--   bora:win:{org}:<scope>   list of the minute's slices before that one, oldest first, each 4 doubles: its number, requests, input, output
--   bora:rps:{org}:<scope>   list of the times of the last requests, in microseconds
-- Doubles hold every number here exactly. They are packed because turning eighteen numbers into text and back costs more than all the rest.
--
-- What is called for every request allocates as little as it can: the tables of scopes are used again by the next call.
local call, floor, ceil, min, max, pack, numbers, format, sub, byte -- set by the first call: while a library is loaded there are no such things
local SECOND_US, DAY_US, SLICE_US = 1000000, 86400000000, 250000
local MINUTE = 240 -- slices before the current one that count
local LEASE_US = 20000000
local AHEAD_US = 100000 -- before its request comes, a lease may be made; shorter than a slice
local KEEP_MS = '3600000' -- of what a lease was settled with
local COST_MAX = 1e15 -- of a request's input, and of its output
local REAP_MAX, REAP_ALL_MAX = 4, 256 -- leases that a call settles for others, and that the reaper does

local HEAD = '<dddddddddddddddddd'
local LAST, OLDEST = 1, 2 -- numbers of the slice that is being filled (now's, or the next one) and of the first one in the list; 0: the list is empty
local SLICE_REQUESTS, SLICE_INPUT, SLICE_OUTPUT = 3, 4, 5
local REQUESTS, INPUT, OUTPUT = 6, 7, 8 -- in the minute
local DAY, DAY_TOKENS = 9, 10
local MONTH, MONTH_TOKENS, MONTH_SPEND = 11, 12, 13
local HELD_OUTPUT, HELD_SPEND, STREAMS = 14, 15, 16
local LAST_REQUEST = 17 -- its time, AHEAD_US from now at most
local EPOCH = 18 -- counts how often the clock was set back: what was charged before is not where it was any more

-- For arguments: Lua's own conversion turns large numbers into 1e+15, and "%.0f" takes five times as long.
local function text(number) return format('%d', number) end

-- Nanos for tokens at a price per million, rounded up. Products that do not stay below 2^53 are split so that each part does.
local function cost(tokens, price)
  local product = tokens * price
  if product < 9e15 then
    local rest = product % 1e6
    return rest == 0 and product / 1e6 or (product - rest) / 1e6 + 1
  end
  local whole = tokens * floor(price / 1e6)
  if whole >= COST_MAX then return COST_MAX end
  local rest = price % 1e6
  return min(COST_MAX, whole + floor(tokens / 1e6) * rest + ceil(tokens % 1e6 * rest / 1e6))
end

-- The most that input can cost, whatever of it turns out to have been cached: two kinds are rounded up twice.
local function input_cost_max(tokens, price, cached_price)
  if price == 0 or cached_price == 0 then return cost(tokens, max(price, cached_price)) end
  return min(COST_MAX, cost(tokens, max(price, cached_price)) + 1)
end

-- --- time ---------------------------------------------------------------------------------------------------------

local now, slice, day -- microseconds; numbers of the slice and of the day since 1970
local opened = {} -- the scopes that this call has read, by the name of their numbers
local pool, pool_used = {}, 0 -- their tables

local function begin(test_time)
  if not call then
    call, floor, ceil, min, max = redis.call, math.floor, math.ceil, math.min, math.max
    pack, numbers, format, sub, byte = struct.pack, struct.unpack, string.format, string.sub, string.byte
  end
  now = test_time
  if now == 0 then
    local time = call('TIME')
    now = time[1] * SECOND_US + time[2]
  end
  slice, day = floor(now / SLICE_US), floor(now / DAY_US)
  for i = 1, pool_used do opened[pool[i].use] = nil end
  pool_used = 0
end

-- Months are counted from the year 0. The calendar's rules are simplest in years that begin with March (Hinnant, "chrono-compatible low-level date algorithms").
local function month_of(days)
  local shifted = days + 719468
  local era = floor(shifted / 146097)
  local in_era = shifted - era * 146097
  local year = floor((in_era - floor(in_era / 1460) + floor(in_era / 36524) - floor(in_era / 146096)) / 365)
  local in_year = in_era - (365 * year + floor(year / 4) - floor(year / 100))
  return (year + era * 400) * 12 + floor((5 * in_year + 2) / 153) + 2
end

local function first_day_of(month)
  local march_based = month - 2
  local all_years, in_year = floor(march_based / 12), march_based % 12
  local era = floor(all_years / 400)
  local year = all_years - era * 400
  return era * 146097 + year * 365 + floor(year / 4) - floor(year / 100) + floor((153 * in_year + 2) / 5) - 719468
end

-- --- scopes -------------------------------------------------------------------------------------------------------

local function list_of(kind, scope) return 'bora:' .. kind .. sub(scope.use, 9) end -- "bora:use:..."

-- How many of the times in a list, oldest first, lie before the last second.
local function before_last_second(times, length)
  local low, high = 0, length
  while low < high do
    local middle = floor((low + high) / 2)
    if tonumber(call('LINDEX', times, text(middle))) > now - SECOND_US then high = middle else low = middle + 1 end
  end
  return low
end

local next_slice, open
do -- because a chunk of Lua has 200 local names at most
  -- Slices that have left the minute.
  local function drop_slices(scope, first)
    local win, most = list_of('win', scope), 4 -- one or two in a scope that is in use, many in one that was idle
    repeat
      local gone, front = 0, call('LRANGE', win, '0', text(most - 1))
      scope[OLDEST] = 0
      for _, packed in ipairs(front) do
        local number, requests, input, output = numbers('<dddd', packed)
        if number >= first then
          scope[OLDEST] = number
          break
        end
        gone = gone + 1
        scope[REQUESTS], scope[INPUT], scope[OUTPUT] = scope[REQUESTS] - requests, scope[INPUT] - input, scope[OUTPUT] - output
      end
      if gone > 0 then call('LPOP', win, text(gone)) end
      local more = gone == most
      most = 64
    until not more
    if scope[OLDEST] == 0 then
      scope[REQUESTS], scope[INPUT], scope[OUTPUT] = scope[SLICE_REQUESTS], scope[SLICE_INPUT], scope[SLICE_OUTPUT]
    end
  end

  -- A slice begins to be filled: the one that was joins the list.
  function next_slice(scope, number)
    local last, first = scope[LAST], slice - MINUTE
    local filled = scope[SLICE_REQUESTS] > 0 or scope[SLICE_INPUT] > 0 or scope[SLICE_OUTPUT] > 0
    if last < first then
      if scope[OLDEST] > 0 then call('DEL', list_of('win', scope)) end
      scope.changed = scope.changed or filled or scope[OLDEST] > 0
      scope[OLDEST], scope[REQUESTS], scope[INPUT], scope[OUTPUT] = 0, 0, 0, 0
    elseif filled then
      local win = list_of('win', scope)
      local length = call('RPUSH', win, pack('<dddd', last, scope[SLICE_REQUESTS], scope[SLICE_INPUT], scope[SLICE_OUTPUT]))
      if scope[OLDEST] == 0 then scope[OLDEST] = last end
      if length == 1 or floor(number / MINUTE) > floor(last / MINUTE) then call('PEXPIRE', win, '600000') end
      scope.changed = true
    end
    scope[LAST], scope[SLICE_REQUESTS], scope[SLICE_INPUT], scope[SLICE_OUTPUT] = number, 0, 0, 0
  end

  -- The clock was set back. All that is in the minute counts as if it had been charged now, or ahead: it leaves late, never early.
  local function gather_slices(scope)
    if scope[OLDEST] > 0 then call('DEL', list_of('win', scope)) end
    scope[LAST], scope[OLDEST], scope[EPOCH], scope.changed = slice + 1, 0, scope[EPOCH] + 1, true
    scope[SLICE_REQUESTS], scope[SLICE_INPUT], scope[SLICE_OUTPUT] = scope[REQUESTS], scope[INPUT], scope[OUTPUT]
  end

  local function take_table(use)
    pool_used = pool_used + 1
    local scope = pool[pool_used]
    if not scope then
      scope = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
      pool[pool_used] = scope
    end
    scope.use, opened[use] = use, scope
    return scope
  end

  -- The numbers of a scope, with its windows moved on to now. `stored`: what Redis has of it, nil when nobody has asked yet.
  function open(use, stored)
    local scope = opened[use]
    if scope then return scope end
    if stored == nil then stored = call('GET', use) end
    scope = take_table(use)
    scope.is_new, scope.changed = not stored, false
    if not stored then
      for i = 1, EPOCH do scope[i] = 0 end
      scope[LAST], scope[DAY], scope[MONTH] = slice, day, month_of(day)
      return scope
    end
    scope[1], scope[2], scope[3], scope[4], scope[5], scope[6], scope[7], scope[8], scope[9], scope[10], scope[11], scope[12], scope[13], scope[14],
      scope[15], scope[16], scope[17], scope[18] = numbers(HEAD, stored)
    if slice > scope[LAST] then
      next_slice(scope, slice)
    elseif slice < scope[LAST] - 1 then
      gather_slices(scope)
    end
    if scope[OLDEST] > 0 and scope[OLDEST] < slice - MINUTE then
      drop_slices(scope, slice - MINUTE)
      scope.changed = true
    end
    -- A clock that was set back over midnight goes on filling the day that had begun; one that had been days ahead has its sums carried to today.
    if day > scope[DAY] or day < scope[DAY] - 1 then
      if day > scope[DAY] then scope[DAY_TOKENS] = 0 else scope[EPOCH] = scope[EPOCH] + 1 end
      local month = month_of(day)
      if month > scope[MONTH] then scope[MONTH_TOKENS], scope[MONTH_SPEND] = 0, 0 end
      if month ~= scope[MONTH] then scope[MONTH], scope.is_new = month, true end
      scope[DAY], scope.changed = day, true
    end
    return scope
  end
end

local function store_scopes()
  for i = 1, pool_used do
    local s = pool[i]
    if s.changed then
      local packed = pack(HEAD, s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15], s[16], s[17], s[18])
      if s.is_new then
        -- It may go a week after its month, by when no lease can hold anything in it.
        local lasts_us = (first_day_of(s[MONTH] + 1) + 7) * DAY_US - now
        call('SET', s.use, packed, 'PX', text(ceil(lasts_us / 1000)))
      else
        call('SETRANGE', s.use, '0', packed) -- which leaves its lifetime as it is
      end
      s.changed, s.is_new = false, false
    end
  end
end

local function add(scope, requests, input, output, spend)
  local tokens = input + output
  scope[SLICE_REQUESTS], scope[REQUESTS] = scope[SLICE_REQUESTS] + requests, scope[REQUESTS] + requests
  scope[SLICE_INPUT], scope[INPUT] = scope[SLICE_INPUT] + input, scope[INPUT] + input
  scope[SLICE_OUTPUT], scope[OUTPUT] = scope[SLICE_OUTPUT] + output, scope[OUTPUT] + output
  scope[DAY_TOKENS], scope[MONTH_TOKENS] = scope[DAY_TOKENS] + tokens, scope[MONTH_TOKENS] + tokens
  scope[MONTH_SPEND] = scope[MONTH_SPEND] + spend
  scope.changed = true
end

local function take_from_slice(scope, number, requests, input)
  if number == scope[LAST] then
    requests, input = min(requests, scope[SLICE_REQUESTS]), min(input, scope[SLICE_INPUT])
    scope[SLICE_REQUESTS], scope[REQUESTS] = scope[SLICE_REQUESTS] - requests, scope[REQUESTS] - requests
    scope[SLICE_INPUT], scope[INPUT] = scope[SLICE_INPUT] - input, scope[INPUT] - input
  elseif scope[OLDEST] > 0 and number >= scope[OLDEST] then
    local win = list_of('win', scope)
    for i, packed in ipairs(call('LRANGE', win, '0', '-1')) do
      local found, slice_requests, slice_input, output = numbers('<dddd', packed)
      if found == number then
        requests, input = min(requests, slice_requests), min(input, slice_input)
        call('LSET', win, text(i - 1), pack('<dddd', number, slice_requests - requests, slice_input - input, output))
        scope[REQUESTS], scope[INPUT] = scope[REQUESTS] - requests, scope[INPUT] - input
      end
    end
  end
end

-- Where a request was counted in a scope, in one number: its epoch; whether it went into the next slice; how much later than now its time in the second is.
local function place_of(scope, later) return scope[EPOCH] + ((scope[LAST] > slice and 131072 or 0) + later) / 262144 end
local function read_place(place)
  local epoch = floor(place)
  local rest = (place - epoch) * 262144
  if rest >= 131072 then return epoch, 1, rest - 131072 end
  return epoch, 0, rest
end

-- Give back what was charged at an earlier time, in each window that still is the one it was charged in.
local function refund(scope, place, charged_slice, charged_day, requests, input, spend)
  local epoch, next = read_place(place)
  if scope[EPOCH] ~= epoch then return end
  charged_slice = charged_slice + next
  if requests > 0 or input > 0 then take_from_slice(scope, charged_slice, requests, input) end
  if scope[DAY] == charged_day then scope[DAY_TOKENS] = max(0, scope[DAY_TOKENS] - input) end
  if scope[MONTH] == month_of(charged_day) then
    scope[MONTH_TOKENS], scope[MONTH_SPEND] = max(0, scope[MONTH_TOKENS] - input), max(0, scope[MONTH_SPEND] - spend)
  end
  scope.changed = true
end

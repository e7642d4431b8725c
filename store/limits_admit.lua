-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Admit a request or take nothing (store/limits.h).
local ADMITTED, DENIED, NEVER_FITS, KEY_CLOSED, SCARCE, TOO_LATE, OUTBOX_FULL = 0, 1, 2, 3, 4, 5, 6
local PEEK, LATE, ESTIMATE, AHEAD = 1, 2, 3, 4
local PER_SECOND, PER_MINUTE, INPUT_PER_MINUTE, OUTPUT_PER_MINUTE, TOKENS_PER_MINUTE, TOKENS_PER_DAY, TOKENS_PER_MONTH, RUNNING, SPEND_PER_MONTH =
  1, 2, 3, 4, 5, 6, 7, 8, 9
local NINE, NINE_BYTES = '<ddddddddd', 72 -- there are nine kinds
local ANSWERS = {} -- their forms, by how many kinds are limited
local KEYS_FIXED = 3
-- What a slice counts for, of its requests, input and output.
local COLUMNS = {[PER_MINUTE] = {1, 0, 0}, [INPUT_PER_MINUTE] = {0, 1, 0}, [OUTPUT_PER_MINUTE] = {0, 0, 1}, [TOKENS_PER_MINUTE] = {0, 1, 1}}

-- The request that is being looked at.
local input, input_cost, output_price
local granted -- as much of its output as there is room for
local needs = {} -- at least, by kind
local limited, limited_count, tightest, remaining = {}, 0, {}, {} -- the kinds that are limited; of each the tightest scope's limit and room
local scopes = {}
local longest, denied_kind, denied_scope, never -- the limit that keeps it out
local scarce -- some limit of tokens or spend (ahead: of anything) has less than three quarters of it left behind the request
local ahead -- its request comes later, or not at all

local word_count -- that came with the request
local answer_numbers = {}

local function answer(outcome, kind, index, wait_us, output)
  local a, count = answer_numbers, limited_count
  a[1], a[2], a[3], a[4], a[5] = outcome, kind, index, wait_us, output
  for i = 1, limited_count do
    a[3 + 3 * i], a[4 + 3 * i], a[5 + 3 * i] = limited[i] - 1, tightest[limited[i]], remaining[limited[i]]
  end
  commit()
  local form = ANSWERS[count]
  if not form then
    form = '<ddddd' .. string.rep('ddd', count)
    ANSWERS[count] = form
  end
  local packed = pack(form, unpack(a, 1, 5 + 3 * count))
  return word_count == 0 and packed or packed .. string.char(unpack(outcomes, 1, word_count))
end

local set_needs, look_at_scope
do -- as above
  -- The times of requests before the last second go; those of a clock that was set back count as now, or ahead.
  local function tidy_times(scope, times)
    if scope[LAST_REQUEST] > now + AHEAD_US then
      local length, copies, at = call('LLEN', times), {}, now + AHEAD_US
      if length > 0 then
        call('DEL', times)
        for i = 1, min(length, 1000) do copies[i] = text(at) end
        for i = 1, length, 1000 do call('RPUSH', times, unpack(copies, 1, min(1000, length - i + 1))) end
        call('PEXPIRE', times, '10000')
      end
      scope[LAST_REQUEST], scope.changed = at, true
    end
    local gone = 0
    for i, at in ipairs(call('LRANGE', times, '0', '15')) do
      if tonumber(at) > now - SECOND_US then break end
      gone = i
    end
    if gone == 16 then gone = before_last_second(times, call('LLEN', times)) end
    if gone > 0 then call('LTRIM', times, text(gone), '-1') end
  end

  -- Requests that still fit into this second, and how long it takes until there is one. Where there is plenty of room old times stay for a while, and it is
  -- at least so much.
  local function room_of_second(scope, times, limit)
    if limit == 0 then return 0, 0 end
    local length = call('LLEN', times)
    local last = scope[LAST_REQUEST]
    local is_plenty = 2 * length < limit and (not ahead or 4 * (length + 1) <= limit)
    if is_plenty and last <= now + AHEAD_US and floor(now / SECOND_US) == floor(last / SECOND_US) then return limit - length, 0 end
    tidy_times(scope, times)
    length = call('LLEN', times)
    if length < limit then return limit - length, 0 end
    local at = tonumber(call('LINDEX', times, text(-limit)))
    if at <= now - SECOND_US then return 1, 0 end
    return 0, at + SECOND_US - now
  end

  -- When `excess` has left the minute. What is held goes nobody knows when: a second is as good as any.
  local function wait_of_minute(scope, kind, excess)
    local of_requests, of_input, of_output = unpack(COLUMNS[kind])
    if excess > of_requests * scope[REQUESTS] + of_input * scope[INPUT] + of_output * scope[OUTPUT] then return SECOND_US end
    local win, from = list_of('win', scope), 0
    while scope[OLDEST] > 0 do
      local part = call('LRANGE', win, text(from), text(from + 15))
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

  function set_needs(tokens)
    local both = input + tokens
    needs[PER_SECOND], needs[PER_MINUTE], needs[INPUT_PER_MINUTE], needs[OUTPUT_PER_MINUTE], needs[TOKENS_PER_MINUTE] = 1, 1, input, tokens, both
    needs[TOKENS_PER_DAY], needs[TOKENS_PER_MONTH], needs[RUNNING], needs[SPEND_PER_MONTH] = both, both, 1, input_cost + cost(tokens, output_price)
  end

  -- `left`: how much of the limit is neither charged nor held; `delay`: how long it takes, if that is known.
  local function look_at(scope, index, kind, limit, left, delay)
    local room = left > 0 and left or 0
    if not tightest[kind] then
      limited_count = limited_count + 1
      limited[limited_count], tightest[kind], remaining[kind] = kind, limit, room
    elseif left < remaining[kind] then
      tightest[kind], remaining[kind] = limit, room
    end
    local need = needs[kind]
    if (ahead or kind >= INPUT_PER_MINUTE and kind ~= RUNNING) and 4 * (left - need) < 3 * limit then scarce = true end
    if limit == 0 or need > limit then
      if not never then never, denied_kind, denied_scope = true, kind - 1, index - 1 end
    elseif need > left then
      delay = delay or wait(scope, kind, need - left)
      if not never and delay > longest then longest, denied_kind, denied_scope = delay, kind - 1, index - 1 end
    elseif kind == OUTPUT_PER_MINUTE then
      if left < granted then granted = left end
    elseif kind >= TOKENS_PER_MINUTE and kind <= TOKENS_PER_MONTH then
      if left - input < granted then granted = left - input end
    elseif kind == SPEND_PER_MONTH then
      granted = affordable(granted, left - input_cost)
    end
  end

  -- Against each limit that there is, of requests and of tokens in a second, minute, day and month, of streams, of money. -1: none.
  function look_at_scope(s, index, second, minute, minute_input, minute_output, minute_tokens, day_tokens, month_tokens, streams, spend)
    s.times = false
    if second >= 0 then
      s.times = list_of('rps', s)
      look_at(s, index, PER_SECOND, second, room_of_second(s, s.times, second))
    end
    local held = s[HELD_OUTPUT]
    if minute >= 0 then look_at(s, index, PER_MINUTE, minute, minute - s[REQUESTS]) end
    if minute_input >= 0 then look_at(s, index, INPUT_PER_MINUTE, minute_input, minute_input - s[INPUT]) end
    if minute_output >= 0 then look_at(s, index, OUTPUT_PER_MINUTE, minute_output, minute_output - s[OUTPUT] - held) end
    if minute_tokens >= 0 then look_at(s, index, TOKENS_PER_MINUTE, minute_tokens, minute_tokens - s[INPUT] - s[OUTPUT] - held) end
    if day_tokens >= 0 then look_at(s, index, TOKENS_PER_DAY, day_tokens, day_tokens - s[DAY_TOKENS] - held) end
    if month_tokens >= 0 then look_at(s, index, TOKENS_PER_MONTH, month_tokens, month_tokens - s[MONTH_TOKENS] - held) end
    if streams >= 0 then look_at(s, index, RUNNING, streams, streams - s[STREAMS]) end
    if spend >= 0 then look_at(s, index, SPEND_PER_MONTH, spend, spend - s[MONTH_SPEND] - s[HELD_SPEND]) end
  end
end

-- Charge the input, hold the output, in every scope; and make the lease. `cached`: -1 where the input is an estimate, -2 where the request is yet to come.
-- That one counts as late as it may come: in the next slice, and with all others behind it, so that times stay in order.
local function take(id, count, tail, cached)
  local spend = needs[SPEND_PER_MONTH] - input_cost
  local earliest, latest = ahead and now + AHEAD_US or now, now + AHEAD_US
  for index = 1, count do
    local scope = scopes[index]
    local at = max(earliest, min(scope[LAST_REQUEST], latest))
    if ahead and scope[LAST] == slice then next_slice(scope, slice + 1) end
    lease_places[index] = place_of(scope, at - now)
    add(scope, 1, input, 0, input_cost)
    scope[HELD_OUTPUT], scope[HELD_SPEND], scope[STREAMS] = scope[HELD_OUTPUT] + granted, scope[HELD_SPEND] + spend, scope[STREAMS] + 1
    if scope.times then
      call('RPUSH', scope.times, text(at))
      if floor(at / SECOND_US) > floor(scope[LAST_REQUEST] / SECOND_US) then call('PEXPIRE', scope.times, '10000') end
    end
    scope[LAST_REQUEST] = at
  end
  local l = lease
  l[L_SLICE], l[L_DAY], l[L_INPUT], l[L_CACHED], l[L_OUTPUT], l[L_INPUT_COST], l[L_GRANTED] = slice, day, input, cached, 0, input_cost, granted
  l[L_ENDED], l[L_BEGAN], l[L_SCOPES], lease_tail = 0, now / 1000, count, tail
  put_lease(id, lease_packed())
  put_due(id, now + LEASE_US)
end

-- Why a request is kept out before its limits are looked at, if it is. `shut`, `word`: what is stored of its key's gate, and of its lease if that was settled.
local function what_keeps_out(late, shut, word)
  lease_reports = false
  if shut and not late then return KEY_CLOSED end
  if late and word then lease_reports = early_reports(word) end
  if word and not lease_reports then return TOO_LATE end -- this call was late; nobody waits for it
  if outbox_full == 0 and not is_time_to_reap() then return nil end
  if call('XLEN', outbox_key) >= OUTBOX_MAX then return OUTBOX_FULL end
  if outbox_full ~= 0 then outbox_full, state_changed = 0, true end
  return nil
end

-- KEYS  gate, settled, the organisation's state; the numbers of each scope
-- ARGV  lease; packed doubles: time or 0, 1 to peek, 2 where it has passed already, 3 for an estimate, 4 ahead of its request, input, output, optional, answers, prices of input, cached input and output,
--       and for each scope its nine limits, -1: unlimited; the names of the scopes, key, workspace, model, endpoint and request id, each with a zero behind
--       it; words of the organisation's other leases (limits_tell), which count before the request, or nothing
-- Gives packed doubles: outcome, kind and index of the scope that keep it out, microseconds until it passes, output held, then for each kind that is limited
-- anywhere its number, the limit and what remains in the tightest scope; then a byte for each word.
local function limits_admit(KEYS, ARGV)
  local time, mode, all_input, output, optional, answers, price, cached_price, price_of_output = struct.unpack(NINE, ARGV[2])
  begin(time)
  local id, count, late = ARGV[1], #KEYS - KEYS_FIXED, mode == LATE
  local stored = call('MGET', unpack(KEYS))
  begin_leases(KEYS[3], stored[3])
  for i = 1, limited_count do tightest[limited[i]] = false end
  word_count, limited_count = 0, 0
  if ARGV[4] ~= '' then
    for index = 1, count do open(KEYS[KEYS_FIXED + index], stored[KEYS_FIXED + index]) end
    word_count = take_words(ARGV[4])
  end
  if late and call('HEXISTS', leases_key, id) == 1 then return answer(ADMITTED, -1, -1, 0, output) end -- it was asked for, and the answer was lost
  local outcome = what_keeps_out(late, stored[1], stored[2])
  if outcome then return answer(outcome, -1, -1, 0, 0) end
  local reports = lease_reports
  if is_time_to_reap() then
    commit() -- reaping looks at what is written
    reap_in_passing()
  end

  input, input_cost, output_price, granted = all_input, input_cost_max(all_input, price, cached_price), price_of_output, output
  longest, denied_kind, denied_scope, never, ahead = 0, -1, -1, false, mode == AHEAD
  scarce = ahead and floor((now + AHEAD_US) / DAY_US) > day -- of whose day and month it is nobody knows
  set_needs(output - optional)
  for index = 1, count do
    scopes[index] = open(KEYS[KEYS_FIXED + index], stored[KEYS_FIXED + index])
    look_at_scope(scopes[index], index, numbers(NINE, ARGV[2], NINE_BYTES * index + 1))
  end
  if mode >= ESTIMATE and (scarce or never or longest > 0) then return answer(SCARCE, -1, -1, 0, 0) end
  if never and not late then return answer(NEVER_FITS, denied_kind, denied_scope, 0, 0) end
  if longest > 0 and not late then return answer(DENIED, denied_kind, denied_scope, longest, 0) end
  if late then granted = output end

  if granted ~= output - optional then set_needs(granted) end
  for i = 1, limited_count do remaining[limited[i]] = remaining[limited[i]] - needs[limited[i]] end
  if mode ~= PEEK then
    lease[L_PRICE], lease[L_CACHED_PRICE], lease[L_OUTPUT_PRICE], lease[L_ANSWERS], lease_reports = price, cached_price, output_price, answers, reports
    if reports then call('DEL', KEYS[2]) end
    take(id, count, ARGV[3], mode < ESTIMATE and 0 or mode == ESTIMATE and -1 or -2)
  end
  return answer(ADMITTED, -1, -1, 0, granted)
end

redis.register_function('limits_admit_' .. VERSION, limits_admit)
redis.register_function('limits_tell_' .. VERSION, limits_tell)

-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Leases, and the outbox of the ledger. A call looks at all that it is about, and writes it at its end (commit): one command for all of its leases.
--
-- A lease is one string, in the hash bora:leases:{org}; once it was settled by a word that may not be the last, in bora:settled:{org}:<lease>:
--   'L'; the numbers below; for each scope where it counts there (place_of); for each scope its name, then key, workspace, model, endpoint and request id, each
--   with a zero behind it; what workers have reported of it, in MessagePack, or nothing
local L_PRICE, L_CACHED_PRICE, L_OUTPUT_PRICE = 1, 2, 3
local L_SLICE, L_DAY = 4, 5 -- when its input was charged
local L_INPUT, L_CACHED, L_OUTPUT, L_INPUT_COST = 6, 7, 8, 9 -- charged so far; cached: -1 while the input is an estimate of which nobody has said more, -2 where it was made ahead
local L_GRANTED = 10 -- output that it may use: the part above L_OUTPUT is held
local L_ANSWERS, L_ENDED = 11, 12
local L_BEGAN = 13 -- milliseconds, to the microsecond
local L_SCOPES, L_TAIL, L_REPORTS = 14, 15, 16 -- how many scopes; bytes of their names and all that comes with them, bytes of the reports
local OUTBOX_MAX = 1000000 -- entries that nobody has fetched: no more usage is let in than can be accounted for
local ENTRY = '<dddddddBc0c0' -- c0: all of a string
local OUTBOX_CHECK = 16 -- it is not counted for every entry
local SETTLED, EXPIRED, CORRECTION = 0, 1, 2
local STATE, STATE_MS = '<dd', '60000'

local tag -- "{org}"
local state_key, leases_key, due_key, outbox_key

-- What this call has to write yet.
local puts, put_count, dues, due_count = {}, 0, {}, 0
local dropped, dropped_count, entries, entry_count = {}, 0, {}, 0
local unchecked = 0 -- entries since the outbox was counted
-- Of an organisation, kept for a minute at most: no lease runs out before `first_due`; the outbox was full when something was last put into it.
local first_due, outbox_full, state_changed

local begin_leases
do
  local ORGANIZATIONS_MAX = 1000 -- whose names are remembered
  local organizations, organization_count = {}, 0

  -- `state`: what is stored of it.
  function begin_leases(name, state)
    local names = organizations[name]
    if not names then
      if organization_count >= ORGANIZATIONS_MAX then organizations, organization_count = {}, 0 end
      local its_tag = string.match(name, '{[^}]*}')
      names = {its_tag, 'bora:leases:' .. its_tag, 'bora:due:' .. its_tag, 'bora:outbox:' .. its_tag}
      organizations[name], organization_count = names, organization_count + 1
    end
    state_key, tag, leases_key, due_key, outbox_key = name, names[1], names[2], names[3], names[4]
    put_count, due_count, dropped_count, entry_count, state_changed = 0, 0, 0, 0, false
    if state then first_due, outbox_full = numbers(STATE, state) else first_due, outbox_full = 0, 0 end
  end
end

local function put_lease(id, packed)
  puts[put_count + 1], puts[put_count + 2], put_count = id, packed, put_count + 2
end

local function put_due(id, time)
  dues[due_count + 1], dues[due_count + 2], due_count = text(time), id, due_count + 2
end

local function drop_lease(id)
  dropped_count = dropped_count + 1
  dropped[dropped_count] = id
end

local function commit()
  if put_count > 0 then call('HSET', leases_key, unpack(puts, 1, put_count)) end
  if due_count > 0 then call('ZADD', due_key, unpack(dues, 1, due_count)) end
  if dropped_count > 0 then
    call('HDEL', leases_key, unpack(dropped, 1, dropped_count))
    call('ZREM', due_key, unpack(dropped, 1, dropped_count))
  end
  for i = 1, entry_count do call('XADD', outbox_key, '*', 'p', entries[i]) end
  unchecked = unchecked + entry_count
  if unchecked >= OUTBOX_CHECK then
    unchecked = 0
    if call('XLEN', outbox_key) >= OUTBOX_MAX then outbox_full, state_changed = 1, true end
  end
  if state_changed then call('SET', state_key, pack(STATE, first_due, outbox_full), 'PX', STATE_MS) end
  put_count, due_count, dropped_count, entry_count, state_changed = 0, 0, 0, 0, false
  store_scopes()
end

-- --- one lease ----------------------------------------------------------------------------------------------------

local lease = {} -- the one that is looked at: the numbers above, and
local lease_scopes, lease_places = {}, {}
local lease_tail, lease_reports -- a string; false, or answer + 1 -> {input, cached, output}

local read_lease, lease_packed, lease_words
do -- because a chunk of Lua has 200 local names at most
  local LEASE, LEASE_MARK, LEASE_BYTES = '<Bdddddddddddddddd', 76, 129
  local WRITTEN = {'dc0c0', 'ddc0c0', 'dddc0c0', 'ddddc0c0', 'dddddc0c0', 'ddddddc0c0'} -- what comes behind, by the number of scopes
  for count = 1, #WRITTEN do WRITTEN[count] = LEASE .. WRITTEN[count] end
  WRITTEN[0] = LEASE .. 'c0c0'
  local EPOCHS = {'<d', '<dd', '<ddd', '<dddd', '<ddddd', '<dddddd'}
  local NAMES = {'<s', '<ss', '<sss', '<ssss', '<sssss', '<ssssss'}
  local SUBJECT_WORDS = 5

  local function copy(to, count, ...)
    for i = 1, count do to[i] = (select(i, ...)) end
  end

  -- Of earlier versions: an array in MessagePack: key, workspace, model, endpoint, request id, three prices, slice, day, input, cached, output, cost of the input,
  -- granted, answers, reports, ended, began; for each scope its name and its epoch.
  local function read_old_lease(packed)
    local old, names = cmsgpack.unpack(packed), {}
    for i = 1, 10 do lease[i] = old[i + 5] end
    lease[L_ANSWERS], lease[L_ENDED], lease[L_BEGAN], lease[L_SCOPES] = old[16], old[18] and 1 or 0, old[19], (#old - 19) / 2
    for i = 1, lease[L_SCOPES] do
      lease_scopes[i], lease_places[i] = old[18 + 2 * i], old[19 + 2 * i]
      names[i] = lease_scopes[i] .. '\0'
    end
    for i = 1, SUBJECT_WORDS do names[#names + 1] = old[i] .. '\0' end
    lease_tail, lease_reports = table.concat(names), old[17]
  end

  function read_lease(packed)
    if byte(packed) ~= LEASE_MARK then return read_old_lease(packed) end
    local l, _ = lease, nil
    _, l[1], l[2], l[3], l[4], l[5], l[6], l[7], l[8], l[9], l[10], l[11], l[12], l[13], l[14], l[15], l[16] = numbers(LEASE, packed)
    local count, tail = l[L_SCOPES], LEASE_BYTES + 8 * l[L_SCOPES] + 1
    if count == 1 then
      lease_places[1], lease_scopes[1] = numbers('<ds', packed, LEASE_BYTES + 1)
    elseif count > 1 then
      copy(lease_places, count, numbers(EPOCHS[count], packed, LEASE_BYTES + 1))
      copy(lease_scopes, count, numbers(NAMES[count], packed, tail))
    end
    lease_tail = sub(packed, tail, tail + l[L_TAIL] - 1)
    lease_reports = l[L_REPORTS] > 0 and cmsgpack.unpack(sub(packed, tail + l[L_TAIL]))
  end

  -- Key, workspace, model, endpoint and request id, each with a zero behind it.
  function lease_words()
    local at = 1
    for i = 1, lease[L_SCOPES] do at = at + #lease_scopes[i] + 1 end
    return sub(lease_tail, at)
  end

  function lease_packed()
    local reports = lease_reports and cmsgpack.pack(lease_reports) or ''
    local l, e, count = lease, lease_places, lease[L_SCOPES]
    l[L_TAIL], l[L_REPORTS] = #lease_tail, #reports
    if count == 1 then
      return pack(WRITTEN[1], LEASE_MARK, l[1], l[2], l[3], l[4], l[5], l[6], l[7], l[8], l[9], l[10], l[11], l[12], l[13], l[14], l[15], l[16],
                  e[1], lease_tail, reports)
    end
    local a = {}
    for i = 1, L_REPORTS do a[i] = l[i] end
    for i = 1, count do a[L_REPORTS + i] = e[i] end
    a[L_REPORTS + count + 1], a[L_REPORTS + count + 2] = lease_tail, reports
    return pack(WRITTEN[count], LEASE_MARK, unpack(a, 1, L_REPORTS + count + 2))
  end
end

local function cost_of_lease() return lease[L_INPUT_COST] + cost(lease[L_OUTPUT], lease[L_OUTPUT_PRICE]) end

-- Charge what came since the last time, and let go of what is no longer held. Output never goes down.
local function charge(input, cached, output, ended)
  local l = lease
  local was_output, price = l[L_OUTPUT], l[L_OUTPUT_PRICE]
  output = max(output, was_output)
  local most_before = max(l[L_GRANTED], was_output)
  if ended then l[L_GRANTED] = output end
  local most_after = max(l[L_GRANTED], output)
  local cost_before, cost_after = cost(was_output, price), cost(output, price)
  local held = most_after - output - (most_before - was_output)
  local spend = cost(most_after, price) - cost_after - (cost(most_before, price) - cost_before)
  local input_cost = l[L_INPUT_COST]
  if ended then
    input_cost = min(COST_MAX, cost(input - cached, l[L_PRICE]) + cost(cached, l[L_CACHED_PRICE]))
  elseif input < l[L_INPUT] then
    input_cost = input_cost_max(input, l[L_PRICE], l[L_CACHED_PRICE])
  end
  local more_input, more_output, more_input_cost = input - l[L_INPUT], output - was_output, input_cost - l[L_INPUT_COST]
  local more_spend = cost_after - cost_before + max(more_input_cost, 0)
  local streams = ended and l[L_ENDED] == 0 and 1 or 0
  l[L_INPUT], l[L_CACHED], l[L_OUTPUT], l[L_INPUT_COST] = input, cached, output, input_cost
  if ended then l[L_ENDED] = 1 end
  local input_charged = more_input > 0 and more_input or 0
  for i = 1, l[L_SCOPES] do
    local scope = open('bora:use:' .. tag .. ':' .. lease_scopes[i])
    local still_held, still_spend, still_running = scope[HELD_OUTPUT] + held, scope[HELD_SPEND] + spend, scope[STREAMS] - streams
    scope[HELD_OUTPUT] = still_held > 0 and still_held or 0
    scope[HELD_SPEND] = still_spend > 0 and still_spend or 0
    scope[STREAMS] = still_running > 0 and still_running or 0
    add(scope, 0, input_charged, more_output, more_spend)
    if more_input < 0 or more_input_cost < 0 then
      refund(scope, lease_places[i], l[L_SLICE], l[L_DAY], 0, max(-more_input, 0), max(-more_input_cost, 0))
    end
  end
end

-- The form of an entry: the end of store/limits.h. It began when it counts as a request, where that is later than its admission.
local function write_entry(id, requests, input, cached, output, nanos, how)
  local began = lease[L_BEGAN]
  for i = 1, lease[L_SCOPES] do
    local _, _, later = read_place(lease_places[i])
    if later > 0 then began = max(began, min(lease[L_BEGAN] + later / 1000, now / 1000)) end
  end
  entry_count = entry_count + 1
  entries[entry_count] = pack(ENTRY, floor(now / 1000), floor(began), requests, input, cached, output, nanos, how, id, lease_words())
end

-- What workers have said of a lease that is not there yet, as of a request that passed while Redis was away: like lease_reports, behind a letter that
-- no lease begins with. False: the word is another one.
local EARLY = 'r'
local function early_reports(word) return sub(word, 1, 1) == EARLY and cmsgpack.unpack(sub(word, 2)) end

local function settled_key(id) return 'bora:settled:' .. tag .. ':' .. id end
local function keep_settled(id) call('SET', settled_key(id), lease_packed(), 'PX', KEEP_MS) end

-- The end of a lease that is there. `open_end`: a better word on it may still come, and then the difference is added.
local function settle(id, input, cached, output, how, open_end)
  charge(input, cached, output, true)
  write_entry(id, 1, input, cached, lease[L_OUTPUT], cost_of_lease(), how)
  drop_lease(id)
  if open_end then keep_settled(id) end
end

-- The end of a lease of which nothing was made: as if it had never been. `open_end`: should a worker report all the same, that is added.
local function forget(id, open_end)
  local began = floor(lease[L_BEGAN] * 1000 + 0.5)
  charge(0, 0, 0, true)
  for i = 1, lease[L_SCOPES] do
    local scope = open('bora:use:' .. tag .. ':' .. lease_scopes[i])
    refund(scope, lease_places[i], lease[L_SLICE], lease[L_DAY], 1, 0, 0)
    local _, _, later = read_place(lease_places[i])
    if began + later > now - SECOND_US then call('LREM', list_of('rps', scope), '-1', text(began + later)) end
  end
  drop_lease(id)
  if open_end then keep_settled(id) end
end

-- A better word on a lease that was settled with an open end.
local function correct(id, input, cached, output, open_end)
  local was_input, was_cached, was_output, was_cost = lease[L_INPUT], lease[L_CACHED], lease[L_OUTPUT], cost_of_lease()
  charge(input, cached, output, true)
  local nanos = cost_of_lease() - was_cost
  if input ~= was_input or cached ~= was_cached or lease[L_OUTPUT] ~= was_output or nanos ~= 0 then
    write_entry(id, 0, input - was_input, cached - was_cached, lease[L_OUTPUT] - was_output, nanos, CORRECTION)
  end
  if open_end then keep_settled(id) else call('SET', settled_key(id), '', 'PX', KEEP_MS) end
end

-- What workers have said of the lease so far, and whether all of its answers are there. The prompt is one, however many answers it has.
local function reported()
  local count, input, cached, output = 0, 0, 0, 0
  for _, report in pairs(lease_reports or {}) do count, input, output = count + 1, max(input, report[1]), output + report[3] end
  for answer = lease[L_ANSWERS], 1, -1 do
    local report = lease_reports and lease_reports[answer]
    if report and report[1] > 0 then cached = report[2] end
  end
  -- An estimate of which nobody has said anything: the request never got to a worker, which would have.
  if count < lease[L_ANSWERS] and lease[L_CACHED] >= 0 then input = lease[L_INPUT] end
  return count == lease[L_ANSWERS], input, min(cached, input), max(output, lease[L_OUTPUT])
end

-- --- leases that run out ------------------------------------------------------------------------------------------

-- What was set aside of them: lease id -> what was stored.
local function unreadable_key() return 'bora:leases-unreadable:' .. tag end

-- Settle them, at most `most`; when nothing else waits to be written. One that makes no sense would keep all behind it from being settled: it is set aside.
-- What it holds in its scopes nobody knows.
local function reap(most)
  local ids = call('ZRANGEBYSCORE', due_key, '-inf', text(now), 'LIMIT', '0', text(most))
  for _, id in ipairs(ids) do
    local packed = call('HGET', leases_key, id)
    if packed and not pcall(read_lease, packed) then
      call('HSET', unreadable_key(), id, packed)
      packed = false
    end
    if packed then
      local _, input, cached, output = reported()
      if not lease_reports then cached = max(lease[L_CACHED], 0) end
      if lease[L_CACHED] == -2 and not lease_reports then forget(id, true) else settle(id, input, cached, output, EXPIRED, true) end
    else
      drop_lease(id)
    end
  end
  return #ids
end

-- Is it time to look for leases that have run out? No lease runs out before `first_due`; one that is later than a lease lasts is a clock's that was set back.
local function is_time_to_reap() return now >= first_due or first_due > now + LEASE_US end

-- As reap, and remember how long nobody needs to look again.
local function reap_in_passing()
  local count, earliest = reap(REAP_MAX), nil
  if count < REAP_MAX then earliest = call('ZRANGE', due_key, text(count), text(count), 'WITHSCORES')[2] end
  first_due = count == REAP_MAX and 0 or min(tonumber(earliest) or now + LEASE_US, now + LEASE_US)
  state_changed = count > 0 or earliest ~= nil
end

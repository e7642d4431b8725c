-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Leases, and the outbox of the ledger.
--
-- A lease is an array in MessagePack, in the hash bora:leases:{org}; once it was settled by a word that may not be the last, in bora:settled:{org}:<lease>.
local L_KEY, L_WORKSPACE, L_MODEL, L_ENDPOINT, L_REQUEST = 1, 2, 3, 4, 5
local L_PRICE, L_CACHED_PRICE, L_OUTPUT_PRICE = 6, 7, 8
local L_SLICE, L_DAY = 9, 10 -- when its input was charged
local L_INPUT, L_CACHED, L_OUTPUT, L_INPUT_COST = 11, 12, 13, 14 -- charged so far
local L_GRANTED = 15 -- output that it may use: the part above L_OUTPUT is held
local L_ANSWERS, L_REPORTS = 16, 17 -- false, or answer + 1 -> {input, cached, output}
local L_ENDED = 18
local L_BEGAN = 19 -- milliseconds
local L_SCOPES = 20 -- from here on: name of a scope, its epoch at admission

local tag -- "{org}"
local leases_key, due_key, outbox_key
local function begin_leases(leases, due, outbox)
  leases_key, due_key, outbox_key, tag = leases, due, outbox, string.match(leases, '{[^}]*}')
end

local function settled_key(id) return 'bora:settled:' .. tag .. ':' .. id end

local function held(lease)
  local most = max(lease[L_GRANTED], lease[L_OUTPUT])
  return most - lease[L_OUTPUT], cost(most, lease[L_OUTPUT_PRICE]) - cost(lease[L_OUTPUT], lease[L_OUTPUT_PRICE])
end

-- Charge what came since the last time, and let go of what is no longer held. Output never goes down.
local function charge(lease, input, cached, output, ended)
  output = max(output, lease[L_OUTPUT])
  local held_before, spend_before = held(lease)
  local more_spend = cost(output, lease[L_OUTPUT_PRICE]) - cost(lease[L_OUTPUT], lease[L_OUTPUT_PRICE])
  local input_cost = lease[L_INPUT_COST]
  if ended then input_cost = min(COST_MAX, cost(input - cached, lease[L_PRICE]) + cost(cached, lease[L_CACHED_PRICE])) end
  local more_input, more_output, more_input_cost = input - lease[L_INPUT], output - lease[L_OUTPUT], input_cost - lease[L_INPUT_COST]
  local streams = ended and not lease[L_ENDED] and 1 or 0
  lease[L_INPUT], lease[L_CACHED], lease[L_OUTPUT], lease[L_INPUT_COST] = input, cached, output, input_cost
  if ended then lease[L_GRANTED], lease[L_ENDED] = output, true end
  local held_after, spend_after = held(lease)
  for i = L_SCOPES, #lease, 2 do
    local name = tag .. ':' .. lease[i]
    local scope = open('bora:use:' .. name, 'bora:win:' .. name)
    scope[HELD_OUTPUT] = max(0, scope[HELD_OUTPUT] - held_before + held_after)
    scope[HELD_SPEND] = max(0, scope[HELD_SPEND] - spend_before + spend_after)
    scope[STREAMS] = max(0, scope[STREAMS] - streams)
    add(scope, 0, max(more_input, 0), more_output, more_spend + max(more_input_cost, 0))
    if more_input < 0 or more_input_cost < 0 then
      refund(scope, lease[i + 1], lease[L_SLICE], lease[L_DAY], max(-more_input, 0), max(-more_input_cost, 0))
    end
  end
end

local function write_outbox(id, lease, requests, input, cached, output, nanos, how)
  call('XADD', outbox_key, '*', 't', text(floor(now / 1000)), 'b', text(lease[L_BEGAN]), 'r', lease[L_REQUEST], 'l', id, 'k', lease[L_KEY], 'w', lease[L_WORKSPACE],
       'm', lease[L_MODEL], 'e', lease[L_ENDPOINT], 'i', text(input), 'c', text(cached), 'o', text(output), 'n', text(nanos), 's', how,
       'q', text(requests))
end

local function cost_of(lease) return lease[L_INPUT_COST] + cost(lease[L_OUTPUT], lease[L_OUTPUT_PRICE]) end

-- What workers have said of a lease that is not there yet, as of a request that passed while Redis was away: like L_REPORTS, behind a letter that no
-- lease begins with. False: the word is another one.
local EARLY = 'r'
local function early_reports(word) return string.sub(word, 1, 1) == EARLY and cmsgpack.unpack(string.sub(word, 2)) end

local function keep_settled(id, lease) call('SET', settled_key(id), cmsgpack.pack(lease), 'PX', KEEP_MS) end

-- The end of a lease that is there. `open_end`: a better word on it may still come, and then the difference is added.
local function settle(id, lease, input, cached, output, how, open_end)
  charge(lease, input, cached, output, true)
  write_outbox(id, lease, 1, input, cached, lease[L_OUTPUT], cost_of(lease), how)
  call('HDEL', leases_key, id)
  call('ZREM', due_key, id)
  if open_end then keep_settled(id, lease) end
end

-- A better word on a lease that was settled with an open end.
local function correct(id, lease, input, cached, output, open_end)
  local was_input, was_cached, was_output, was_cost = lease[L_INPUT], lease[L_CACHED], lease[L_OUTPUT], cost_of(lease)
  charge(lease, input, cached, output, true)
  local nanos = cost_of(lease) - was_cost
  if input ~= was_input or cached ~= was_cached or lease[L_OUTPUT] ~= was_output or nanos ~= 0 then
    write_outbox(id, lease, 0, input - was_input, cached - was_cached, lease[L_OUTPUT] - was_output, nanos, 'correction')
  end
  if open_end then keep_settled(id, lease) else call('SET', settled_key(id), '', 'PX', KEEP_MS) end
end

-- What workers have said of a lease so far, and whether all of its answers are there. The prompt is one, however many answers it has.
local function reported(lease)
  local count, input, cached, output = 0, 0, 0, 0
  for _, report in pairs(lease[L_REPORTS] or {}) do count, input, output = count + 1, max(input, report[1]), output + report[3] end
  for answer = lease[L_ANSWERS], 1, -1 do
    local report = lease[L_REPORTS] and lease[L_REPORTS][answer]
    if report and report[1] > 0 then cached = report[2] end
  end
  if count < lease[L_ANSWERS] then input = lease[L_INPUT] end
  return count == lease[L_ANSWERS], input, min(cached, input), max(output, lease[L_OUTPUT])
end

-- Settle leases that have run out, at most `most`.
local function reap(most)
  if call('ZCOUNT', due_key, '-inf', now_text) == 0 then return 0 end
  local ids = call('ZRANGEBYSCORE', due_key, '-inf', now_text, 'LIMIT', '0', text(most))
  for _, id in ipairs(ids) do
    local packed = call('HGET', leases_key, id)
    if packed then
      local lease = cmsgpack.unpack(packed)
      local _, input, cached, output = reported(lease)
      if not lease[L_REPORTS] then cached = lease[L_CACHED] end
      settle(id, lease, input, cached, output, 'expired', true)
    else
      call('ZREM', due_key, id)
    end
  end
  return #ids
end

-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- What scopes have to know of the time before anything limited them (limits_catch_up in store/limits.h): what the ledger has, and what is on its way there.
;(function() -- because a chunk of Lua has 200 local names at most
local UNSETTLED_MAX = 4096 -- entries of the outbox, and leases, that one call looks at
local PIECE = 1000 -- leases that are looked at together where all have to be: some 3 ms
local ENTRY_WORDS = 90 -- where an entry's words begin: behind seven numbers, a byte and the lease's id

local function number_of(fields, name) return tonumber(fields[name] or '') or 0 end

-- Into `groups`, by key, workspace and model; `at` is a time in ms.
local function add_unsettled(groups, key, workspace, model, at, tokens, nanos)
  local on_day = floor(at / 86400000)
  if on_day ~= day and month_of(on_day) ~= month_of(day) then return end
  local name = key .. ' ' .. workspace .. ' ' .. model
  local group = groups[name]
  if not group then
    group = {key = key, workspace = workspace, model = model, day = 0, month = 0, spend = 0}
    groups[name] = group
  end
  if on_day == day then group.day = group.day + tokens end
  group.month, group.spend = group.month + tokens, group.spend + nanos
end

-- One of an earlier version (store/limits.h); gives when it began.
local function add_old_entry(groups, words)
  local fields = {}
  for i = 1, #words, 2 do fields[words[i]] = words[i + 1] end
  if not (fields.k and fields.w and fields.m) then return 1 / 0 end
  add_unsettled(groups, fields.k, fields.w, fields.m, number_of(fields, 't'), number_of(fields, 'i') + number_of(fields, 'o'), number_of(fields, 'n'))
  return number_of(fields, 'b')
end

-- What a lease that is looked at holds for an input that nobody has counted yet counts in the scopes that it names, from which the rest is taken back: by scope.
local function add_estimate(estimates, scope)
  local sum = estimates[scope]
  if not sum then
    sum = {day = 0, month = 0, spend = 0}
    estimates[scope] = sum
  end
  if month_of(lease[L_DAY]) ~= month_of(day) then return end
  if lease[L_DAY] == day then sum.day = sum.day + lease[L_INPUT] end
  sum.month, sum.spend = sum.month + lease[L_INPUT], sum.spend + lease[L_INPUT_COST]
end

-- Gives whether those were all entries of the outbox, and when the first of what was looked at began, in ms.
local function read_unsettled(groups, estimates, position)
  local oldest = 1 / 0
  local entries = call('XRANGE', outbox_key, '(' .. position, '+', 'COUNT', text(UNSETTLED_MAX))
  for _, entry in ipairs(entries) do
    local form, packed = entry[2][1], entry[2][2]
    if form == 'p' then
      local at, began, _, input, _, output, nanos = numbers('<ddddddd', packed)
      local key, workspace, model = numbers('<sss', packed, ENTRY_WORDS)
      oldest = min(oldest, began)
      add_unsettled(groups, key, workspace, model, at, input + output, nanos)
    else
      oldest = min(oldest, add_old_entry(groups, entry[2]))
    end
  end
  local found = call('HSCAN', leases_key, '0', 'COUNT', text(UNSETTLED_MAX))
  for i = 2, #found[2], 2 do
    if pcall(read_lease, found[2][i]) then -- else it is set aside when it runs out
      local key, workspace, model = numbers('<sss', lease_words())
      oldest = min(oldest, floor(lease[L_BEGAN]))
      if lease[L_CACHED] < 0 then
        for j = 1, lease[L_SCOPES] do add_estimate(estimates, lease_scopes[j]) end
        lease[L_INPUT], lease[L_INPUT_COST] = 0, 0
      end
      add_unsettled(groups, key, workspace, model, now / 1000, lease[L_INPUT] + lease[L_OUTPUT], cost_of_lease())
    end
  end
  return #entries < UNSETTLED_MAX, oldest
end

local function is_of(group, kind, id, model)
  return (model == '' or group.model == model) and
    (kind == 'o' or (kind == 'k' and group.key == id) or (kind == 'w' and group.workspace == id))
end

-- KEYS  the organisation's state, the outbox' epoch; for each scope its numbers
-- ARGV  packed doubles: time or 0, day since 1970 on which the ledger was read; the outbox' epoch then, or ''; id of its last entry in the ledger;
--       for each scope: 'o', 'w' or 'k'; whose; model or ''; packed doubles: the day's tokens, the month's tokens and spend by the ledger
-- Gives two packed doubles: 1 when the ledger's day is this one and all of its outbox was looked at, ms in which the first of what is not in the ledger began (0: there is
-- nothing) as far as it was looked at: not all leases where there are thousands.
local function limits_catch_up(KEYS, ARGV)
  local time, read_on = struct.unpack('<dd', ARGV[1])
  begin(time)
  begin_leases(KEYS[1], false)
  local groups, estimates, complete, oldest = {}, {}, false, 1 / 0
  -- An outbox that was lost in between has nothing to do with the position.
  if (call('GET', KEYS[2]) or '') == ARGV[2] then complete, oldest = read_unsettled(groups, estimates, ARGV[3]) end
  if read_on ~= day then complete = false end
  local k = 3
  for a = 4, #ARGV, 4 do
    local kind, id, model = ARGV[a], ARGV[a + 1], ARGV[a + 2]
    local day_tokens, month_tokens, month_spend = struct.unpack('<ddd', ARGV[a + 3])
    if read_on ~= day then day_tokens = 0 end
    if month_of(read_on) ~= month_of(day) then month_tokens, month_spend = 0, 0 end
    for _, group in pairs(groups) do
      if is_of(group, kind, id, model) then
        day_tokens, month_tokens, month_spend = day_tokens + group.day, month_tokens + group.month, month_spend + group.spend
      end
    end
    local held = estimates[string.match(KEYS[k], '}:(.*)$')]
    if held then day_tokens, month_tokens, month_spend = day_tokens + held.day, month_tokens + held.month, month_spend + held.spend end
    local scope = open(KEYS[k])
    scope[DAY_TOKENS] = max(scope[DAY_TOKENS], day_tokens)
    scope[MONTH_TOKENS], scope[MONTH_SPEND] = max(scope[MONTH_TOKENS], month_tokens), max(scope[MONTH_SPEND], month_spend)
    scope.changed = true
    k = k + 1
  end
  store_scopes()
  return pack('<dd', complete and 1 or 0, oldest == 1 / 0 and 0 or oldest)
end

-- KEYS  the organisation's state
-- ARGV  packed double: time or 0; where the piece begins: '0', or as the one before said
-- Gives where the next piece begins ('0': that was the last), and as a packed double ms in which the first of this one's leases began (0: it has none). Leases
-- that are there from the first piece to the last are in one of them.
local function limits_oldest(KEYS, ARGV)
  begin((struct.unpack('<d', ARGV[1])))
  begin_leases(KEYS[1], false)
  local oldest = 1 / 0
  local found = call('HSCAN', leases_key, ARGV[2], 'COUNT', text(PIECE))
  for i = 2, #found[2], 2 do
    if pcall(read_lease, found[2][i]) then oldest = min(oldest, floor(lease[L_BEGAN])) end
  end
  return {found[1], pack('<d', oldest == 1 / 0 and 0 or oldest)}
end

redis.register_function('limits_catch_up_' .. VERSION, limits_catch_up)
redis.register_function{function_name = 'limits_oldest_' .. VERSION, callback = limits_oldest, flags = {'no-writes'}}
end)()

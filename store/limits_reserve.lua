-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Check a key and take requests and tokens from its buckets, all or nothing (store/limits.h).
--
-- KEYS  record, reservation, usage of the key, usage of the key and model
-- ARGV  time in ms or 0; requests: 1, or 0 when the reservation has taken it before; tokens, how many of them may be missing, how many more must have room;
--       then requests and tokens per minute for the key and for the key and model; -1: unlimited
-- Gives {outcome, bucket, retry after ms, requests: limit, remaining, tokens: limit, remaining, reserved, tokens taken}, or {outcome} when the key does not stand.
-- What a reservation has taken before goes back when the rest is denied.
-- Numbers are written with %.0f: Lua's own conversion turns large ones into 1e+15.
local WINDOW = 60 -- whole seconds before the current one that count

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local requests, tokens, optional, ahead = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local second = math.floor(now / 1000)

local record = redis.call('HMGET', KEYS[1], 'created_at', 'expires_at', 'revoked_at')
if not record[1] then return {'unknown'} end
if record[3] then return {'revoked'} end
if record[2] and tonumber(record[2]) * 1000 <= now then return {'expired'} end

local function text(number) return string.format('%.0f', number) end
local function pair(value)
  local count, used = string.match(value, '^(%d+):(-?%d+)$')
  return tonumber(count), tonumber(used)
end

-- What is inside the window. Seconds that have left it are only noted: they are deleted when something is admitted.
local function read(key)
  local head = redis.call('HMGET', key, 'requests', 'tokens', 'oldest', text(second))
  local usage = {key = key, requests = 0, tokens = 0, oldest = second, this_second = head[4], gone = {}}
  if not head[1] then return usage end
  usage.requests, usage.tokens, usage.oldest = tonumber(head[1]), tonumber(head[2]), tonumber(head[3])
  local first = second - WINDOW
  if usage.oldest >= first then return usage end
  local names = {}
  for s = usage.oldest, math.min(first - 1, usage.oldest + WINDOW) do names[#names + 1] = text(s) end
  local values = redis.call('HMGET', key, unpack(names))
  for i, name in ipairs(names) do
    if values[i] then
      local count, used = pair(values[i])
      usage.requests, usage.tokens = usage.requests - count, usage.tokens - used
      usage.gone[#usage.gone + 1] = name
    end
  end
  usage.oldest = first
  return usage
end

-- Milliseconds until `excess` of a kind (1 requests, 2 tokens) has left the window.
local function wait(usage, kind, excess)
  local names = {}
  for s = usage.oldest, usage.oldest + WINDOW do names[#names + 1] = text(s) end
  for i, value in ipairs(redis.call('HMGET', usage.key, unpack(names))) do
    if value then
      excess = excess - select(kind, pair(value))
      if excess <= 0 then return (usage.oldest + i - 1 + WINDOW + 1) * 1000 - now end
    end
  end
  return (WINDOW + 1) * 1000
end

local longest, denied_by, never = 0, -1, false
local room = {{-1, -1}, {-1, -1}} -- tightest limit and what remains, before this request
local taken = tokens -- as many as there is room for
local scopes = {}
for scope = 0, 1 do
  local limits = {tonumber(ARGV[6 + 2 * scope]), tonumber(ARGV[7 + 2 * scope])}
  if limits[1] >= 0 or limits[2] >= 0 then
    local usage = read(KEYS[3 + scope])
    usage.counts_tokens = limits[2] >= 0
    scopes[#scopes + 1] = usage
    local used, cost = {usage.requests, usage.tokens}, {requests, tokens - optional + ahead}
    for kind = 1, 2 do
      local limit = limits[kind]
      if limit >= 0 then
        local remaining = limit - used[kind]
        if room[kind][1] < 0 or remaining < room[kind][2] then room[kind] = {limit, remaining} end
        if kind == 2 then taken = math.min(taken, remaining - ahead) end
        if kind == 1 and requests == 0 then
          -- The request was counted before.
        elseif limit == 0 or cost[kind] > limit then
          if not never then never, denied_by = true, 2 * scope + kind - 1 end
        elseif cost[kind] > remaining then
          local delay = wait(usage, kind, cost[kind] - remaining)
          if not never and delay > longest then longest, denied_by = delay, 2 * scope + kind - 1 end
        end
      end
    end
  end
end

local function answer(outcome, reserved)
  local cost = {0, 0}
  if outcome == 'admitted' then cost = {requests, taken} else taken = 0 end
  local left = {}
  for kind = 1, 2 do left[kind] = room[kind][1] < 0 and -1 or math.max(room[kind][2] - cost[kind], 0) end
  return {outcome, denied_by, longest, room[1][1], left[1], room[2][1], left[2], reserved, taken}
end

-- Where the reservation's request was counted: a second for the key, one for the key and model.
local counted = {'-', '-'}
if requests == 0 then
  local reservation = redis.call('GETDEL', KEYS[2])
  if reservation then counted = {string.match(reservation, '(%S+) (%S+)$')} end
end
if never or denied_by >= 0 then
  local back = 0
  for i = 1, 2 do
    local values = redis.call('HMGET', KEYS[2 + i], counted[i], 'requests')
    if values[1] then -- else it has left the window
      local count, used = pair(values[1])
      redis.call('HSET', KEYS[2 + i], counted[i], text(count - 1) .. ':' .. text(used), 'requests', text(values[2] - 1))
      back = 1
    end
  end
  if room[1][1] >= 0 then room[1][2] = math.min(room[1][1], room[1][2] + back) end
  if never then longest = 0 end
  return answer(never and 'never' or 'denied', 0)
end

local lifetime = (WINDOW + 2) * 1000
local reserved = {'-', '-'} -- where its tokens are counted
for _, usage in ipairs(scopes) do
  local scope = usage.key == KEYS[3] and 1 or 2
  local name, value = text(second), usage.this_second
  if usage.oldest > second then -- the clock was set back: what is admitted now leaves no earlier than the oldest second
    name = text(usage.oldest)
    value = redis.call('HGET', usage.key, name)
  end
  local count, used = 0, 0
  if value then count, used = pair(value) end
  if usage.counts_tokens then
    used, usage.tokens = used + taken, usage.tokens + taken
    if taken > 0 then reserved[scope] = name end
  end
  if requests > 0 then counted[scope] = name end
  if #usage.gone > 0 then redis.call('HDEL', usage.key, unpack(usage.gone)) end
  redis.call('HSET', usage.key, 'requests', text(usage.requests + requests), 'tokens', text(usage.tokens), 'oldest', text(usage.oldest), name,
             text(count + requests) .. ':' .. text(used))
  -- Once a second is enough. Twice the window, because a clock that is set back walks through up to a window of seconds that exist already.
  if not usage.this_second then redis.call('PEXPIRE', usage.key, 2 * lifetime) end
end
if #scopes == 0 then return answer('admitted', 0) end
redis.call('SET', KEYS[2], text(taken) .. ' ' .. reserved[1] .. ' ' .. reserved[2] .. ' ' .. counted[1] .. ' ' .. counted[2], 'PX', lifetime)
return answer('admitted', 1)

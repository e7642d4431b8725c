-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Put a batch of the outbox into the ledger and its sums: whole, and only if nobody did so before. This script alone moves the position.
--
-- KEYS  ledger, position: hash epoch -> id of the outbox' last entry in the ledger, "top": ms of the ledger's last id, and "priced" when any of it cost anything;
--       entries that could not be read, then hashes of sums
-- ARGV  epoch, the position that the batch begins behind, its last id, how many hashes of sums
--       for each hash of sums: when it expires (Unix seconds), how many groups, and for each: its name, requests, input, cached, output, cost
--       how many unreadable entries, for each its text
--       for each entry: its time in ms, then field, value... (ENTRY_WORDS of them)
-- Gives {1, position now}, or {0, position now} when it was not at the batch's begin.
local ENTRY_WORDS = 28
local function position_of() return redis.call('HGET', KEYS[2], ARGV[1]) or '0-0' end
if position_of() ~= ARGV[2] then return {0, position_of()} end

-- Sum of two whole numbers in decimal: exact beyond 2^53, where Lua's own are not.
local function plus(a, b)
  if #a <= 15 and #b <= 15 then return string.format('%.0f', tonumber(a) + tonumber(b)) end
  local function parts(text)
    local sign, digits = string.match(text, '^(%-?)(%d+)$')
    sign = sign == '-' and -1 or 1
    return sign * (tonumber(string.sub(digits, 1, -10)) or 0), sign * tonumber(string.sub(digits, -9))
  end
  local high_a, low_a = parts(a)
  local high_b, low_b = parts(b)
  local high, low = high_a + high_b, low_a + low_b
  if low >= 1e9 then high, low = high + 1, low - 1e9 end
  if low <= -1e9 then high, low = high - 1, low + 1e9 end
  if high > 0 and low < 0 then high, low = high - 1, low + 1e9 end
  if high < 0 and low > 0 then high, low = high + 1, low - 1e9 end
  if high == 0 then return string.format('%.0f', low) end
  return string.format('%.0f%09.0f', high, math.abs(low))
end

-- Everything that may fail comes before the first write: a script that fails half-way is not taken back.
local at, last = 5, 3 + tonumber(ARGV[4])
local sums, priced = {}, false
for k = 4, last do
  local expires, count, names, pairs_ = ARGV[at], tonumber(ARGV[at + 1]), {}, {}
  at = at + 2
  for g = 1, count do names[g] = ARGV[at + 6 * (g - 1)] end
  local before = redis.call('HMGET', KEYS[k], unpack(names))
  for g = 1, count do
    local old, new = {}, {}
    for word in string.gmatch(before[g] or '0 0 0 0 0', '%S+') do old[#old + 1] = word end
    for i = 1, 5 do new[i] = plus(old[i], ARGV[at + i]) end
    priced = priced or ARGV[at + 5] ~= '0'
    pairs_[2 * g - 1] = names[g]
    pairs_[2 * g] = table.concat(new, ' ')
    at = at + 6
  end
  sums[k] = {expires, pairs_}
end
local top = tonumber(redis.call('HGET', KEYS[2], 'top') or '0')

for k = 4, last do
  redis.call('HSET', KEYS[k], unpack(sums[k][2]))
  redis.call('EXPIREAT', KEYS[k], sums[k][1])
end
local unreadable = tonumber(ARGV[at])
for i = at + 1, at + unreadable do redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'entry', ARGV[i]) end
for i = at + unreadable + 1, #ARGV, ENTRY_WORDS + 1 do
  -- A ledger's ids never go back, though clocks may.
  top = math.max(top, tonumber(ARGV[i]))
  redis.call('XADD', KEYS[1], string.format('%.0f-*', top), unpack(ARGV, i + 1, i + ENTRY_WORDS))
end
if priced then redis.call('HSET', KEYS[2], 'priced', '1') end
redis.call('HSET', KEYS[2], 'top', string.format('%.0f', top), ARGV[1], ARGV[3])
return {1, ARGV[3]}

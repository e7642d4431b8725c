-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Which limits that were set late have to catch up with the past (limit_seed.h).
--
-- KEYS  when the turn of each comes, since when it is there
-- ARGV  'set', member, wait: from now on; its first turn is after so many ms. A second time: from now on
--       'take', most, claim: those whose turn it is, which have the next one after so many ms unless they are told of before
--       'told', member, since, wait: had its turn; '': it is done. Nothing when it was set again in between
-- Gives of 'take' member, since, age in ms for each, else 1.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
if ARGV[1] == 'set' then
  redis.call('HSET', KEYS[2], ARGV[2], text(now))
  redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[3])), ARGV[2])
elseif ARGV[1] == 'told' then
  if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] then return 1 end
  if ARGV[4] == '' then
    redis.call('ZREM', KEYS[1], ARGV[2])
    redis.call('HDEL', KEYS[2], ARGV[2])
  else
    redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[4])), ARGV[2])
  end
else
  local taken = {}
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'LIMIT', '0', ARGV[2])) do
    local since = tonumber(redis.call('HGET', KEYS[2], member) or '0')
    redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[3])), member)
    taken[#taken + 1], taken[#taken + 2], taken[#taken + 3] = member, since, now - since
  end
  return taken
end
return 1

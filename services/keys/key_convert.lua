-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- A key of an earlier version in its organisation and workspace; nothing happens when it is there already.
--
-- KEYS  record, list, workspace's keys
-- ARGV  prefix, '1' when it is revoked, then field, value...
-- Gives 1, or 0 when it was there.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
redis.call('ZADD', KEYS[2], string.format('%.0f', (tonumber(last) or 0) + 1), ARGV[1])
if ARGV[2] ~= '1' then redis.call('SADD', KEYS[3], ARGV[1]) end
return 1

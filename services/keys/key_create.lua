-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Store a new key's record, behind all others in the list of its organisation.
--
-- KEYS  record, list, workspace's keys, workspace's record, audit trail
-- ARGV  prefix, most keys of an organisation, entry of the audit trail (8), then field, value...
-- Gives 1; 0: the prefix is taken; -1: there are too many keys; -2: the workspace is gone.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[2]) then return -1 end
if redis.call('EXISTS', KEYS[4]) == 0 then return -2 end
redis.call('HSET', KEYS[1], unpack(ARGV, 11))
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
redis.call('ZADD', KEYS[2], string.format('%.0f', (tonumber(last) or 0) + 1), ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[3], '*', 'actor', ARGV[4], 'action', ARGV[5], 'target', ARGV[6],
  'name', ARGV[7], 'detail', ARGV[8], 'request', ARGV[9], 'address', ARGV[10])
return 1

-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Store a new workspace's record, unless the organisation has one of that name.
--
-- KEYS  record, list, names, organisation's record, audit trail
-- ARGV  id, name, most workspaces of an organisation, entry of the audit trail (8), then field, value...
-- Gives the id of the workspace of that name: the new one or the one that was there; '' when there are too many; nothing when the organisation is gone.
local there = redis.call('HGET', KEYS[3], ARGV[2])
if there then return there end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then return '' end
if redis.call('EXISTS', KEYS[4]) == 0 then return false end
redis.call('HSET', KEYS[1], unpack(ARGV, 12))
redis.call('HSET', KEYS[3], ARGV[2], ARGV[1])
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
redis.call('ZADD', KEYS[2], string.format('%.0f', (tonumber(last) or 0) + 1), ARGV[1])
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[4], '*', 'actor', ARGV[5], 'action', ARGV[6], 'target', ARGV[7],
  'name', ARGV[8], 'detail', ARGV[9], 'request', ARGV[10], 'address', ARGV[11])
return ARGV[1]

-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Remove a workspace that has no keys but revoked ones and is not the organisation's last.
--
-- KEYS  record, list, names, workspace's keys, audit trail
-- ARGV  id, entry of the audit trail (8)
-- Gives 1; 0: there is none; -1: it has keys; -2: it is the last one.
local name = redis.call('HGET', KEYS[1], 'name')
if not name then return 0 end
if redis.call('SCARD', KEYS[4]) > 0 then return -1 end
if redis.call('ZCARD', KEYS[2]) <= 1 then return -2 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], name)
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[2], '*', 'actor', ARGV[3], 'action', ARGV[4], 'target', ARGV[5],
  'name', ARGV[6], 'detail', ARGV[7], 'request', ARGV[8], 'address', ARGV[9])
return 1

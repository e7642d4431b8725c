-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Store a new organisation's record.
--
-- KEYS  record, audit trail
-- ARGV  entry of the audit trail (8), then field, value...
-- Gives 1, or 0 when it was there already.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 9))
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'actor', ARGV[2], 'action', ARGV[3], 'target', ARGV[4],
  'name', ARGV[5], 'detail', ARGV[6], 'request', ARGV[7], 'address', ARGV[8])
return 1

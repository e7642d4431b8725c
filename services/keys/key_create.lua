-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Store a new key's record and put it behind all others in the list.
--
-- KEYS  record, list, counter
-- ARGV  key id, then field, value...
-- Gives 1, or 0 when the id is taken.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), ARGV[1])
return 1

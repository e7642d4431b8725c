-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Revoke a key; the first time counts.
--
-- KEYS  record
-- ARGV  Unix seconds
-- Gives the record: {field, value...}, empty when there is none.
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSETNX', KEYS[1], 'revoked_at', ARGV[1]) end
return redis.call('HGETALL', KEYS[1])

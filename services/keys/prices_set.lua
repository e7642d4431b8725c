-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- All prices anew, if they are still those that were read.
--
-- KEYS  prices, currency, audit trail (in a cluster one of the prices' own: prices_trail.h)
-- ARGV  currency that was read ('': none), how many prices were read, for each: model, text; currency to set; entry of the audit trail (8);
--       how many prices to set, for each: model, text
-- Gives 1, or 0 when somebody else has set them since.
local at = 3 + 2 * tonumber(ARGV[2])
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] or redis.call('HLEN', KEYS[1]) ~= tonumber(ARGV[2]) then return 0 end
for i = 3, at - 1, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
redis.call('SET', KEYS[2], ARGV[at])
redis.call('DEL', KEYS[1])
if tonumber(ARGV[at + 9]) > 0 then redis.call('HSET', KEYS[1], unpack(ARGV, at + 10)) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[at + 1], '*', 'actor', ARGV[at + 2], 'action', ARGV[at + 3], 'target', ARGV[at + 4],
  'name', ARGV[at + 5], 'detail', ARGV[at + 6], 'request', ARGV[at + 7], 'address', ARGV[at + 8])
return 1

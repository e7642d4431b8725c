-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Give back what a reservation took above what was used (store/limits.h).
--
-- KEYS  reservation, usage of the key, usage of the key and model
-- ARGV  tokens used
-- Gives 1, or 0 when there was nothing (any more) to settle.
local reservation = redis.call('GETDEL', KEYS[1])
if not reservation then return 0 end
local tokens, key_second, model_second = string.match(reservation, '^(%d+) (%S+) (%S+) ')
local unused = tonumber(tokens) - tonumber(ARGV[1])
local function refund(key, second)
  if second == '-' then return end
  local values = redis.call('HMGET', key, second, 'tokens')
  if not values[1] then return end -- it has left the window
  local requests, used = string.match(values[1], '^(%d+):(-?%d+)$')
  redis.call('HSET', key, second, string.format('%s:%.0f', requests, used - unused), 'tokens', string.format('%.0f', values[2] - unused))
end
if unused ~= 0 then
  refund(KEYS[2], key_second)
  refund(KEYS[3], model_second)
end
return 1

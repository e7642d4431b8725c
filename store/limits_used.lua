-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- What counts in a scope now (store/limits.h).
--
-- KEYS  its numbers, its slices, the times of its requests
-- ARGV  packed doubles: time or 0
-- Gives nine packed doubles, one for each kind of limit.
start_clock((numbers('<d', ARGV[1])))
local scope = open(KEYS[1], KEYS[2])
local low, high = 0, call('LLEN', KEYS[3]) -- the first time that is inside the last second
local length = high
while low < high do
  local middle = floor((low + high) / 2)
  if tonumber(call('LINDEX', KEYS[3], text(middle))) > now - SECOND_US then high = middle else low = middle + 1 end
end
store_scopes()
local tokens = scope[HELD_OUTPUT]
return pack('<ddddddddd', length - low, scope[REQUESTS], scope[INPUT], scope[OUTPUT] + tokens, scope[INPUT] + scope[OUTPUT] + tokens,
            scope[DAY_TOKENS] + tokens, scope[MONTH_TOKENS] + tokens, scope[STREAMS], scope[MONTH_SPEND] + scope[HELD_SPEND])

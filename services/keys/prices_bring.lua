-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Put an entry of the prices' own trail into the trail that the operator sees, once.
--
-- KEYS  the operator's trail
-- ARGV  how many entries it keeps, the entry's id, then field, value... of the entry
-- Gives 1, or 0 when it was there.
local LOOK_BACK = 1000
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', LOOK_BACK)) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  if fields.brought == ARGV[2] then return 0 end
end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'brought', ARGV[2], unpack(ARGV, 3))
return 1

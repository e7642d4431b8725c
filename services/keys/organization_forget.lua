-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Put the last entry of a removed organisation's trail into the trail that the operator sees unless another is named, once.
--
-- KEYS  the operator's trail
-- ARGV  how many entries it keeps, the organisation's id, then field, value... of the entry
-- Gives 1, or 0 when it was there.
local LOOK_BACK = 1000
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', LOOK_BACK)) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  if fields.action == 'organization.delete' and fields.target == ARGV[2] then return 0 end
end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3))
return 1

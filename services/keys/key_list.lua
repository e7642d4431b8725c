-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- A page of keys, oldest first.
--
-- KEYS  list
-- ARGV  key id of the last one seen or '', page size, prefix and suffix of a record's name
-- Gives {more to come: 1 or 0, key id, {field, value...}, key id, {...}...}, or nothing when the id seen is not in the list.
local first = 0
if ARGV[1] ~= '' then
  local rank = redis.call('ZRANK', KEYS[1], ARGV[1])
  if not rank then return {} end
  first = rank + 1
end
local size = tonumber(ARGV[2])
local ids = redis.call('ZRANGE', KEYS[1], first, first + size)
local page = {#ids > size and 1 or 0}
for i = 1, math.min(#ids, size) do
  page[#page + 1] = ids[i]
  page[#page + 1] = redis.call('HGETALL', ARGV[3] .. ids[i] .. ARGV[4])
end
return page

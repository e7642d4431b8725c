-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Those of a piece of an organisation's keys that fit. Pieces are small, so that others wait for a fraction of a millisecond.
--
-- KEYS  list
-- ARGV  rank of the first, of the last, beginning of a record's name, workspace or '', part of the name or last characters or '',
--       beginning of the prefix or ''
-- Gives how many keys there were in the piece, then the prefixes of those that fit.
local prefixes = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2])
local fitting = {#prefixes}
for _, prefix in ipairs(prefixes) do
  local record = redis.call('HMGET', ARGV[3] .. prefix, 'workspace', 'name', 'last')
  if (ARGV[4] == '' or record[1] == ARGV[4]) and
    (ARGV[5] == '' or record[3] == ARGV[5] or (record[2] and record[2]:find(ARGV[5], 1, true)) or
    (ARGV[6] ~= '' and prefix:sub(1, #ARGV[6]) == ARGV[6])) then
    fitting[#fitting + 1] = prefix
  end
end
return fitting

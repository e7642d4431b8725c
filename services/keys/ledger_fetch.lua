-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- The next entries of an organisation's outbox; what is in the ledger already is removed. Runs in redis-limits.
--
-- KEYS  outbox, its epoch (made when there is none: all that was here before is lost, and ids may begin lower)
-- ARGV  a random name for a new epoch, the epoch that the position belongs to, the position: id of the last entry in the ledger,
--       how many entries
-- Gives {epoch, 1 when the end was lost, {{id, {field, value...}}...}}; no entries when the epoch is another one.
redis.call('SETNX', KEYS[2], ARGV[1])
local epoch = redis.call('GET', KEYS[2])
if epoch ~= ARGV[2] then return {epoch, 0, {}} end
local position, lost = ARGV[3], 0
local ms, sequence = string.match(position, '^(%d+)-(%d+)$')
if position ~= '0-0' then
  local last_ms, last_sequence = 0, 0
  if redis.call('EXISTS', KEYS[1]) == 1 then
    local last = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #last, 2 do
      if last[i] == 'last-generated-id' then last_ms, last_sequence = string.match(last[i + 1], '^(%d+)-(%d+)$') end
    end
  end
  last_ms, last_sequence = tonumber(last_ms), tonumber(last_sequence)
  if last_ms < tonumber(ms) or (last_ms == tonumber(ms) and last_sequence < tonumber(sequence)) then
    -- Redis came back with an older file. New entries must have ids above the position, whatever its clock says.
    lost = 1
    redis.call('XADD', KEYS[1], position, 'x', '')
    redis.call('XDEL', KEYS[1], position)
  end
end
redis.call('XTRIM', KEYS[1], 'MINID', ms .. '-' .. string.format('%.0f', tonumber(sequence) + 1))
return {epoch, lost, redis.call('XRANGE', KEYS[1], '(' .. position, '+', 'COUNT', ARGV[4])}

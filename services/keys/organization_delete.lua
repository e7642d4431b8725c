-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Remove an organisation that has no keys but revoked ones and has never used anything, with all that is its.
--
-- KEYS  record, list of workspaces, their names, list of keys, marks of changes, ledger, ledger's position, audit trail
-- ARGV  '1': remove it, else only whether that would be done; beginnings of the names of a workspace's record, of its keys and of a key's record; most keys
-- Gives {1, its keys' prefixes, its workspaces' ids}; {0}: there is none; {-1}: it has keys; {-2}: it has a ledger; {-3}: too many revoked keys.
if redis.call('EXISTS', KEYS[1]) == 0 then return {0} end
local workspaces, prefixes = redis.call('ZRANGE', KEYS[2], 0, -1), redis.call('ZRANGE', KEYS[4], 0, tonumber(ARGV[5]))
for _, id in ipairs(workspaces) do
  if redis.call('SCARD', ARGV[3] .. id) > 0 then return {-1} end
end
if redis.call('EXISTS', KEYS[6], KEYS[7]) > 0 then return {-2} end
if #prefixes > tonumber(ARGV[5]) then return {-3} end
if ARGV[1] == '1' then
  for _, id in ipairs(workspaces) do redis.call('DEL', ARGV[2] .. id, ARGV[3] .. id) end
  for _, prefix in ipairs(prefixes) do redis.call('DEL', ARGV[4] .. prefix) end
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[8])
end
return {1, prefixes, workspaces}

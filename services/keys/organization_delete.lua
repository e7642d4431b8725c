-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Remove an organisation that has no keys but revoked ones and has never used anything, with all that is its but the audit trail.
--
-- KEYS  record, list of workspaces, their names, list of keys, marks of changes, ledger, ledger's position, audit trail, what indexes elsewhere still name
-- ARGV  '1': remove it, else only whether that would be done; beginnings of the names of a workspace's record, of its keys and of a key's record; most keys;
--       mark that indexes have to follow; entry of the audit trail (8)
-- Gives 1; 0: there is none; -1: it has keys; -2: it has a ledger; -3: too many revoked keys.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local workspaces, prefixes = redis.call('ZRANGE', KEYS[2], 0, -1), redis.call('ZRANGE', KEYS[4], 0, tonumber(ARGV[5]))
for _, id in ipairs(workspaces) do
  if redis.call('SCARD', ARGV[3] .. id) > 0 then return -1 end
end
if redis.call('EXISTS', KEYS[6], KEYS[7]) > 0 then return -2 end
if #prefixes > tonumber(ARGV[5]) then return -3 end
if ARGV[1] ~= '1' then return 1 end

redis.call('SADD', KEYS[9], 'n ' .. redis.call('HGET', KEYS[1], 'name'))
for _, id in ipairs(workspaces) do
  redis.call('SADD', KEYS[9], 'w ' .. id)
  redis.call('DEL', ARGV[2] .. id, ARGV[3] .. id)
end
for _, prefix in ipairs(prefixes) do
  redis.call('SADD', KEYS[9], 'k ' .. prefix)
  redis.call('DEL', ARGV[4] .. prefix)
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
redis.call('HSET', KEYS[5], ARGV[6], '1')
redis.call('XADD', KEYS[8], 'MAXLEN', '~', ARGV[7], '*', 'actor', ARGV[8], 'action', ARGV[9], 'target', ARGV[10],
  'name', ARGV[11], 'detail', ARGV[12], 'request', ARGV[13], 'address', ARGV[14])
return 1

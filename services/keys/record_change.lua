-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Change the record of a key, a workspace or an organisation, if nobody else has since it was read; leave a mark that gateways must hear of it.
--
-- KEYS  record, audit trail, marks of changes, names of workspaces, workspace's keys; the last two only matter where ARGV says so
-- ARGV  version that was read, mark, its value, name that goes, name that comes ('': no other name), id it stands for,
--       prefix that leaves the workspace's keys (''), entry of the audit trail (8), number of fields that go, these, then field, value...
-- Gives 1; 0: it has changed since; -1: there is no such record (any more); -2: the name is taken.
local version = redis.call('HGET', KEYS[1], 'version')
if not version then return -1 end
if version ~= ARGV[1] then return 0 end
if ARGV[5] ~= '' then
  if redis.call('HSETNX', KEYS[4], ARGV[5], ARGV[6]) == 0 then return -2 end
  redis.call('HDEL', KEYS[4], ARGV[4])
end
if ARGV[7] ~= '' then redis.call('SREM', KEYS[5], ARGV[7]) end
local going = tonumber(ARGV[16])
if going > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, 17, 16 + going)) end
redis.call('HSET', KEYS[1], unpack(ARGV, 17 + going))
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[8], '*', 'actor', ARGV[9], 'action', ARGV[10], 'target', ARGV[11],
  'name', ARGV[12], 'detail', ARGV[13], 'request', ARGV[14], 'address', ARGV[15])
return 1

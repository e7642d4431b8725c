-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- A key, its workspace and its organisation, as of one moment.
--
-- KEYS  key's record, organisation's record
-- ARGV  beginning of the name of a workspace's record (in the same slot)
-- Gives {key's fields, workspace's fields, organisation's fields}, each {field, value...}; empty where there is none.
local workspace = redis.call('HGET', KEYS[1], 'workspace')
return {
  redis.call('HGETALL', KEYS[1]),
  workspace and redis.call('HGETALL', ARGV[1] .. workspace) or {},
  redis.call('HGETALL', KEYS[2])
}

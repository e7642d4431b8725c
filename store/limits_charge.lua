-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Charge what was generated so far, and keep the lease alive (store/limits.h).
--
-- KEYS  leases, due, outbox
-- ARGV  lease; packed doubles: time or 0, input, cached input, output
-- Gives 1, or 0 when there is no such lease.
local time, _, cached, output = numbers('<dddd', ARGV[2])
start_clock(time)
start(KEYS[1], KEYS[2], KEYS[3])
local packed = call('HGET', keys.leases, ARGV[1])
if packed then
  local lease = cmsgpack.unpack(packed)
  charge(lease, lease[L_INPUT], min(lease[L_INPUT], max(lease[L_CACHED], cached)), output, false)
  call('HSET', keys.leases, ARGV[1], cmsgpack.pack(lease))
  call('ZADD', keys.due, text(now + LEASE_US), ARGV[1])
end
reap(REAP_MAX)
store_scopes()
return packed and 1 or 0

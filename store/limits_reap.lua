-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- Settle leases that have run out (store/limits.h).
--
-- KEYS  leases, due, outbox
-- ARGV  packed doubles: time or 0
-- Gives how many.
local MOST = 256
start_clock((numbers('<d', ARGV[1])))
start(KEYS[1], KEYS[2], KEYS[3])
-- Nobody may hold longer than a lease: where one seems to, the clock was set back.
for _, id in ipairs(call('ZRANGEBYSCORE', keys.due, '(' .. text(now + LEASE_US), '+inf', 'LIMIT', '0', text(MOST))) do
  call('ZADD', keys.due, text(now + LEASE_US), id)
end
local count = reap(MOST)
store_scopes()
return count

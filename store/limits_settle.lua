-- Copyright Bora contributors
-- SPDX-License-Identifier: Apache-2.0
--
-- The last word on a lease, by its gateway or by a worker for one answer (store/limits.h).
--
-- KEYS  leases, due, outbox, settled
-- ARGV  lease; packed doubles: time or 0, input, cached input, output, 1 when a better word may come, answer or -1 for all of them
-- Gives 1 settled now, 2 the difference was added, 0 nothing to settle (yet).
local id = ARGV[1]
local time, input, cached, output, provisional, index = numbers('<dddddd', ARGV[2])
start_clock(time)
start(KEYS[1], KEYS[2], KEYS[3])
local packed = call('HGET', keys.leases, id)
local running = packed and true
if not packed then packed = call('GET', KEYS[4]) end

local function finish(lease)
  local complete = true
  if index >= 0 then
    local reports = lease[L_REPORTS] or {}
    reports[index + 1] = {input, cached, output}
    lease[L_REPORTS] = reports
    complete, input, cached, output = reported(lease)
  elseif lease[L_REPORTS] then
    output = max(output, (select(4, reported(lease))))
  end
  if complete then
    local open_end = provisional ~= 0
    if running then settle(id, lease, input, cached, output, 'settled', open_end) else correct(id, lease, input, cached, output, open_end) end
    return running and 1 or 2
  end
  if running then call('HSET', keys.leases, id, cmsgpack.pack(lease)) else keep_settled(id, lease) end
  return 0
end

local answer = 0
if packed and packed ~= '' then
  answer = finish(cmsgpack.unpack(packed))
elseif not packed then
  -- The admission's answer was lost and it may be under way still, on a connection that broke: it must find that it is too late.
  call('SET', KEYS[4], '', 'PX', KEEP_MS)
end
reap(REAP_MAX)
store_scopes()
return answer

# The gateway's parts that can be asked alone; the tests stand in for gRPC and the clock, and mostly for Redis.
set(gateway ${PROJECT_SOURCE_DIR}/services/gateway)
bora_test(NAME services/gateway_workers SOURCES gateway_workers_test.c ${gateway}/workers.c
  DEPENDS rpc_transcode proto base LINK -Wl,--wrap=clock_system)
bora_test(NAME services/gateway_authenticate SOURCES gateway_authenticate_test.c ${gateway}/authenticate.c ${gateway}/service_token.c ${gateway}/key_info.c
  DEPENDS rpc_transcode proto base LINK PkgConfig::crypto -Wl,--wrap=clock_system)
bora_test(NAME services/gateway_ahead SOURCES gateway_ahead_test.c ${gateway}/ahead.c ${gateway}/key_info.c DEPENDS store rpc_transcode proto base test_redis LABELS redis)
bora_test(NAME services/gateway_client_address SOURCES gateway_client_address_test.c ${gateway}/client_address.c DEPENDS base)
bora_test(NAME services/gateway_admin_routes SOURCES gateway_admin_routes_test.c ${gateway}/admin_routes.c DEPENDS rpc_transcode proto base)
bora_test(NAME services/gateway_url_secret SOURCES gateway_url_secret_test.c ${gateway}/url_secret.c DEPENDS base)
bora_test(NAME services/gateway_console SOURCES gateway_console_test.c ${gateway}/console.c DEPENDS base)

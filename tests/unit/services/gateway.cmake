# The gateway's own files, each with what it declares; what it would ask over the network is a stub of the test.
set(gateway ${PROJECT_SOURCE_DIR}/services/gateway)
bora_test(NAME services/gateway_authenticate SOURCES gateway_authenticate_test.c ${gateway}/authenticate.c
  DEPENDS rpc_transcode proto base LINK PkgConfig::crypto)

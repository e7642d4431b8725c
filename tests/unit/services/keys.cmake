foreach(question IN ITEMS key_text key_record secrets uuid time_text audit)
  bora_test(NAME services/keys_${question} SOURCES keys_${question}_test.c DEPENDS keys base)
endforeach()
foreach(question IN ITEMS service changes roles places faults recovery)
  bora_test(NAME services/keys_${question} SOURCES keys_${question}_test.c keys_fixture.c
    DEPENDS rpc_grpc rpc_transcode proto store base test_redis test_process LINK PkgConfig::crypto
    ARGS $<TARGET_FILE:bora-keys> LABELS redis process ENVIRONMENT "TSAN_OPTIONS=ignore_noninstrumented_modules=1")
  add_dependencies(test_services_keys_${question} bora-keys)
endforeach()

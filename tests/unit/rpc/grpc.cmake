bora_test(NAME rpc/grpc SOURCES grpc_test.c DEPENDS rpc_grpc base ENVIRONMENT "TSAN_OPTIONS=ignore_noninstrumented_modules=1")

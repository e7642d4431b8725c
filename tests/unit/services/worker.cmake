set(worker ${PROJECT_SOURCE_DIR}/services/worker)
bora_test(NAME services/worker_models_file SOURCES worker_models_file_test.c ${worker}/models_file.c DEPENDS engine_chat base)
bora_test(NAME services/worker_convert SOURCES worker_convert_test.c ${worker}/convert.c DEPENDS engine engine_weights test_tiny_model rpc_grpc rpc_transcode proto base)
bora_test(NAME services/worker_turns SOURCES worker_turns_test.c ${worker}/turns.c DEPENDS base)

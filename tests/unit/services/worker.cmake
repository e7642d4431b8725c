bora_test(NAME services/worker_turns SOURCES worker_turns_test.c ${PROJECT_SOURCE_DIR}/services/worker/turns.c DEPENDS base)

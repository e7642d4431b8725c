# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
add_library(bora_test_keys_ledger STATIC keys_ledger_fixture.c)
target_link_libraries(bora_test_keys_ledger PUBLIC bora_keys bora_store bora_base bora_test_redis cmocka)
bora_test(NAME services/keys_ledger SOURCES keys_ledger_test.c DEPENDS test_keys_ledger LABELS redis)
bora_test(NAME services/keys_ledger_faults SOURCES keys_ledger_faults_test.c DEPENDS test_keys_ledger test_process
  LABELS redis process TIMEOUT 600)
bora_test(NAME services/keys_limit_seed SOURCES keys_limit_seed_test.c DEPENDS test_keys_ledger LABELS redis)
bora_test(NAME services/keys_organization_names SOURCES keys_organization_names_test.c DEPENDS test_keys_ledger LABELS redis)
bora_test(NAME services/keys_usage_range SOURCES keys_usage_range_test.c DEPENDS keys base)
bora_test(NAME services/keys_usage_table SOURCES keys_usage_table_test.c DEPENDS test_keys_ledger LABELS redis)

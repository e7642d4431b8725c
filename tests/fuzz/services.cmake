# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
bora_fuzzer(NAME key_record SOURCES key_record_fuzz.c DEPENDS keys base)

# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
bora_fuzzer(NAME settings SOURCES settings_fuzz.c DEPENDS base)

# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The messages of proto/bora/v1, generated (tools/generate_python.sh)."""

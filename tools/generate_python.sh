#!/bin/sh
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# tools/generate_python.sh [OUT_DIR]
#
# Writes the messages of the Python client, OUT_DIR/bora/v1/*_pb2.py and .pyi (default: clients/python), from proto/bora/v1. They are committed,
# so that installing the client needs no compiler; tests/clients/test_generated.py fails when they are older than proto/. Debian 12's protoc is the
# one to use: what it writes is read by every Python protobuf from Debian's 4.21 on, newer compilers ask for runtimes as new as they are.
set -eu
cd "$(dirname "$0")/.."
out=${1:-clients/python}
mkdir -p "$out"
protoc -I proto --python_out="$out" --pyi_out="$out" bora/v1/options.proto bora/v1/error.proto bora/v1/chat.proto bora/v1/models.proto bora/v1/keys.proto \
  bora/v1/tenants.proto bora/v1/usage.proto
for file in "$out"/bora/v1/*_pb2.py "$out"/bora/v1/*_pb2.pyi; do
  { printf '# Copyright Bora contributors\n# SPDX-License-Identifier: Apache-2.0\n'; cat "$file"; } >"$file.new"
  mv "$file.new" "$file"
done

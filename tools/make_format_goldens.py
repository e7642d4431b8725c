#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/formats/texts.json from the JSON Schema test suite's draft 7:

    tools/make_format_goldens.py SUITE

For every format (and "base64", a contentEncoding) its texts that are valid and those that are not."""
import json
import pathlib
import sys

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/formats/texts.json"


def groups_of(suite):
    for path in sorted((suite / "optional/format").glob("*.json")) + [suite / "optional/content.json"]:
        yield from json.loads(path.read_text(encoding="utf-8"))


def name_of(schema):
    """Only schemas that ask for nothing but one format."""
    schema = {key: value for key, value in schema.items() if key != "$schema"}
    return schema.get("format", schema.get("contentEncoding")) if len(schema) == 1 else None


def main(suite):
    formats = {}
    for group in groups_of(suite):
        name = name_of(group["schema"])
        if name in (None, "unknown"):
            continue
        texts = formats.setdefault(name, {"valid": [], "invalid": []})
        for test in group["tests"]:
            verdict = texts["valid" if test["valid"] else "invalid"]
            if isinstance(test["data"], str) and test["data"] not in verdict:
                verdict.append(test["data"])
    OUT.write_text(json.dumps(formats, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))

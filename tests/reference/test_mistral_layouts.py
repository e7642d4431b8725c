# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Mistral's layouts on their real vocabularies, id for id against mistral-common, which brings them: the table of tools/make_mistral_goldens.py."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BORA_BUILD_DIR", ROOT / "build/release"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """What the reference answers: file, request and ids (None: refused) of every conversation in every kind of vocabulary."""
    folder = tmp_path_factory.mktemp("vocabularies")
    made = subprocess.run([sys.executable, str(ROOT / "tools/make_mistral_goldens.py"), "--ids", str(folder)], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in made.stdout.splitlines()]


def test_every_prompt_has_the_same_ids(cases):
    ours = subprocess.run([str(BUILD / "tests/layout_ids")], input="".join(json.dumps({"file": c["file"], "request": c["request"]}) + "\n" for c in cases), check=True, capture_output=True, text=True)
    answers = [json.loads(line) for line in ours.stdout.splitlines()]
    assert len(answers) == len(cases) > 1000
    wrong = [(c["kind"], c["name"], c["ids"], a) for c, a in zip(cases, answers) if c["ids"] != a]
    assert not wrong, f"{len(wrong)} of {len(cases)}: {wrong[:3]}"
    assert sum(c["ids"] is not None for c in cases) > 700

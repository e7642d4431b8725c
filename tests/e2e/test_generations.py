# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The short form of generations.py: what the model finishes under a schema is valid, and it finishes."""
from collections import Counter

import generations


def test_answers_are_valid_and_end(house):
    entries = generations.run(house, generations.schemas(20, 7), 160)
    print(generations.report(entries))
    assert not [entry for entry in entries if entry["wrong"]]
    counts = sum((Counter(entry["reasons"]) for entry in entries), Counter())
    assert counts["stop"] + counts[generations.WHOLE] == 160, counts

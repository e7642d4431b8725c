# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The short form of generations.py: what the model finishes under a schema is valid, and it finishes."""
from collections import Counter

import generations


CUT_SHARE_MAX = 0.1  # lower only: of answers that came to their last token before their end


def test_answers_are_valid_and_end(house):
    entries = generations.run(house, generations.schemas(20, 7), 60, each=3, budgets=[64])
    print(generations.report(entries))
    counts = sum((Counter(entry["reasons"]) for entry in entries), Counter())
    assert not [entry for entry in entries if entry["wrong"]]
    assert set(counts) <= {"stop", generations.WHOLE, generations.CUT} and counts.total() == 60
    assert counts[generations.CUT] <= CUT_SHARE_MAX * 60

# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""JSON-Schema-Test-Suite, draft 7, through the masks: how many tests are decided right. A table by file; the numbers below may only get better."""
import json
from collections import Counter

import pytest
from grammar_program import DOCUMENTS, SUITE, run, write_tokenizer

# part: tests decided right at least, invalid accepted and valid refused at most. Raise only: what a change makes better, it holds.
HELD = {
    "required": (926, 0, 1),
    "optional": (116, 2, 0),
    "format": (651, 0, 25),
}
FOLDERS = {"required": SUITE, "optional": SUITE / "optional", "format": SUITE / "optional/format"}
TESTS = {"required": 927, "optional": 118, "format": 676}  # in all, so that none is lost


def lines_of(part):
    for path in sorted(FOLDERS[part].glob("*.json")):
        for number, group in enumerate(json.loads(path.read_text())):
            yield path.stem, [test["valid"] for test in group["tests"]], {
                "id": f"{path.stem} {number}: {group['description']}", "schema": group["schema"], "instances": [json.dumps(test["data"], ensure_ascii=False) for test in group["tests"]]}


def count(answer, valid):
    """What became of each test of a group."""
    if answer["declined"] is not None:
        return Counter(declined=len(valid))
    return Counter("right" if accepted == expected else "invalid accepted" if accepted else "valid refused" for accepted, expected in zip(answer["accepted"], valid, strict=True))


@pytest.mark.parametrize("part", HELD)
def test_suite(part, tmp_path):
    tokenizer = write_tokenizer(tmp_path)
    groups = list(lines_of(part))
    answers = run("check", tokenizer, [line for *_, line in groups], *DOCUMENTS)
    files, wrong = {}, []
    for (name, valid, line), answer in zip(groups, answers, strict=True):
        assert answer["id"] == line["id"] and "errors" not in answer, answer
        files.setdefault(name, Counter()).update(count(answer, valid))
        if answer["declined"] is not None:
            wrong.append(f"declined: {line['id']}: {answer['declined']['keyword']} at '{answer['declined']['pointer']}': {answer['declined']['reason']}")
        else:
            wrong += [f"{'invalid accepted' if a else 'valid refused'}: {line['id']}: {text}" for a, v, text in zip(answer["accepted"], valid, line["instances"]) if a != v]
    columns = ["right", "invalid accepted", "valid refused", "declined"]
    print(f"\n{part:28}" + "".join(f"{c:>18}" for c in columns))
    total = Counter()
    for name, counts in files.items():
        total.update(counts)
        print(f"  {name:26}" + "".join(f"{counts[c]:18}" for c in columns))
    print(f"  {'all':26}" + "".join(f"{total[c]:18}" for c in columns))
    print("\n".join(wrong))
    assert sum(total.values()) == TESTS[part]
    right, invalid_accepted, valid_refused = HELD[part]
    assert total["right"] >= right
    assert total["invalid accepted"] <= invalid_accepted
    assert total["valid refused"] <= valid_refused


def test_tokens_do_not_matter(tmp_path):
    """Byte by byte, and in the pieces of a vocabulary: the same is accepted."""
    answers = []
    for name, pieces in (("bytes", []), ("pieces", None)):
        (tmp_path / name).mkdir()
        tokenizer = write_tokenizer(tmp_path / name, pieces) if pieces is not None else write_tokenizer(tmp_path / name)
        answers.append([(a["id"], a["declined"], a["accepted"]) for part in HELD for a in run("check", tokenizer, [line for *_, line in lines_of(part)], *DOCUMENTS)])
    assert answers[0] == answers[1]

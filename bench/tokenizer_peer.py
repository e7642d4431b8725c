# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The references' side of bench/tokenizer.py, in the environment of the tests: "prepare FOLDER CHARACTERS", then "tokenizers FOLDER" or "tiktoken FOLDER"."""
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/reference"))
PASSES = 3


def main():
    side, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    import compare_tokenizers
    tekken = next(compare_tokenizers.data_folder().glob("tekken_240911.json"))
    if side == "prepare":
        import make_tokenizers
        import texts
        (folder / "texts").write_text("".join(json.dumps(t) + "\n" for t in texts.real_texts(int(sys.argv[3]))))
        make_tokenizers.of_tekken(tekken).save(str(folder / "nemo.json"))
        print(tekken, folder / "texts")
        return
    documents = [json.loads(line) for line in (folder / "texts").read_text().splitlines()]
    if side == "tokenizers":
        from tokenizers import Tokenizer
        model = Tokenizer.from_file(str(folder / "nemo.json"))
        encode = lambda text: model.encode(text, add_special_tokens=False).ids
    else:
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer
        model = Tekkenizer.from_file(tekken)
        encode = lambda text: model.encode(text, bos=False, eos=False)
    best, tokens = float("inf"), 0
    for _ in range(PASSES):
        begin = time.monotonic()
        tokens = sum(len(encode(text)) for text in documents)
        best = min(best, time.monotonic() - begin)
    print(f"{sum(len(t.encode()) for t in documents) / best / 1e6:.2f} {tokens}")


main()

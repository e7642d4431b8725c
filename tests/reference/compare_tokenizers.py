# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""bora-tokenize beside the references, on mixed real text and fuzzed strings: every id must be the same.

    python tests/reference/compare_tokenizers.py [--characters 1000000] [--fuzzed 100000] [--seed 1] [FAMILY]...

FAMILY: mistral (mistral-common and sentencepiece on its own files), sentencepiece (models trained here), hugging-face (tokenizer.json files with
the pipelines of real families), gguf (llama.cpp, when its library is there; it needs gguf 0.19.0 and protobuf beside tests/requirements.txt). Exit
status 1 when anything differs.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import texts as source

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOL = pathlib.Path(os.environ.get("BORA_BUILD_DIR", ROOT / "build/release")) / "bin/bora-tokenize"
# Where a reference is not the definition: what it does, and why we do not do it.
EXCEPTIONS = {
    "gguf nemo": "llama.cpp's tekken takes all letters but a-z and A-Z for both cases and marks for symbols; the model's own pattern does not",
    "gguf unigram-user": "llama.cpp takes every byte prefix of a user-defined piece for the piece",
}


def data_folder():
    import mistral_common
    return pathlib.Path(mistral_common.__file__).parent / "data"


def encode(path, texts, *flags):
    done = subprocess.run([str(TOOL), str(path), *flags], input="".join(json.dumps(t) + "\n" for t in texts), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(name, path, reference, texts, *flags, skip=lambda text: False):
    """How many of `texts` have other ids; the first of them are shown."""
    different = 0
    kept = [t for t in texts if not skip(t)]
    for text, got in zip(kept, encode(path, kept, *flags), strict=True):
        want = reference(text)
        if got == want:
            continue
        different += 1
        if different <= 3:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            print(f"  {text[:70]!r} at {at}: reference {want[at:at + 6]}, ours {got[at:at + 6]}")
    note = f" ({EXCEPTIONS[name]})" if different and name in EXCEPTIONS else ""
    print(f"{name}: {len(kept)} texts, {sum(map(len, kept))} characters, {different} differ{note}", flush=True)
    return 0 if name in EXCEPTIONS else different


def mistral(texts, _train, _folder):
    import sentencepiece
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer
    different = 0
    for path in sorted(data_folder().glob("tekken_*.json")):
        model = Tekkenizer.from_file(path)
        different += compare(f"mistral {path.name}", path, lambda t: model.encode(t, bos=False, eos=False), texts)
    for path in sorted(data_folder().glob("*.model.v*")):
        if path.name.endswith("m1"):
            continue
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        different += compare(f"mistral {path.name}", path, pieces.encode, texts)
    return different


def sentencepiece_models(texts, train, folder):
    import make_sentencepiece
    import sentencepiece
    different = 0
    for name, path in make_sentencepiece.train(train, folder):
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        different += compare(f"sentencepiece {name}", path, pieces.encode, texts)
    return different


def hugging_face(texts, train, folder, names=None):
    import make_tokenizers
    from tokenizers import Tokenizer
    different = 0
    for name, made in make_tokenizers.all_tokenizers(train, data_folder(), names):
        path = pathlib.Path(folder) / f"{name}.json"
        made.save(str(path))
        model = Tokenizer.from_file(str(path))
        ids = lambda t: model.encode(t, add_special_tokens=False).ids
        different += compare(f"hugging-face {name}, as a template", path, ids, texts, "--template")
        model.encode_special_tokens = True
        special = [t.content for t in model.get_added_tokens_decoder().values() if t.special]
        # A unigram takes "<s>" in a text for its piece of that name; here control tokens never arise from text.
        skip = (lambda t: any(s in t for s in special)) if name.startswith("unigram") else (lambda t: False)
        different += compare(f"hugging-face {name}, plain", path, ids, texts, skip=skip)
    return different


def gguf(texts, train, folder):
    import make_gguf
    import make_sentencepiece
    import make_tokenizers
    from llama_vocabulary import CACHE, LIBRARY, Vocabulary
    if not LIBRARY.exists():
        print(f"gguf: skipped, there is no {LIBRARY}")
        return 0
    folder, made = pathlib.Path(folder), []
    for name, pre in (("llama3", "llama-bpe"), ("qwen2", "qwen2"), ("smollm", "smollm"), ("gpt2", "gpt-2"), ("o200k", "default"), ("nemo", "tekken")):
        for _, tokenizer in make_tokenizers.all_tokenizers(train, data_folder(), [name]):
            tokenizer.save(str(folder / f"{name}.json"))
        make_gguf.of_json(folder / f"{name}.json", folder / f"{name}.gguf", pre)
        made.append((name, folder / f"{name}.gguf"))
    for path in sorted(data_folder().glob("*.model.v*")):
        make_gguf.of_sentencepiece(path, folder / f"{path.name}.gguf")
        made.append((path.name, folder / f"{path.name}.gguf"))
    for name, path in make_sentencepiece.train(train, folder, ["bpe-user", "unigram", "unigram-user"]):
        make_gguf.of_sentencepiece(path, folder / f"{name}.gguf", "t5" if name.startswith("unigram") else "llama")
        made.append((name, folder / f"{name}.gguf"))
    made += [(p.name, p) for p in sorted((CACHE / "models").glob("*.gguf"))]
    # The real vocabularies that llama.cpp tests itself with.
    made += [(p.stem, p) for p in sorted((CACHE / "peers/llama.cpp").rglob("ggml-vocab-*.gguf"))]
    different = 0
    for name, path in made:
        refused = subprocess.run([str(TOOL), str(path), os.devnull], capture_output=True, text=True).stderr
        if refused:
            print(f"gguf {name}: refused, {refused.strip().rsplit(': ', 1)[-1]}", flush=True)
            continue
        vocabulary = Vocabulary(path)
        # llama.cpp makes "</s>" an end of text wherever it stands. Gemma and Phi-3 have it as a tag of HTML, and Qwen as a piece like any other.
        tag = lambda t: "</s>" in t
        plain_skip = tag if any(family in name for family in ("gemma", "phi-3", "vocab-qwen2")) else lambda t: False
        template_skip = plain_skip if "vocab" in name else lambda t: False
        different += compare(f"gguf {name}", path, lambda t: vocabulary.encode(t, False), texts, skip=plain_skip)
        different += compare(f"gguf {name}", path, lambda t: vocabulary.encode(t, True), texts, "--template", skip=template_skip)
    return different


FAMILIES = {"mistral": mistral, "sentencepiece": sentencepiece_models, "hugging-face": hugging_face, "gguf": gguf}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", choices=[[], *FAMILIES], help=", ".join(FAMILIES))
    parser.add_argument("--characters", type=int, default=1000000)
    parser.add_argument("--fuzzed", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    texts = list(source.real_texts(options.characters)) + list(source.fuzzed_texts(options.fuzzed, options.seed)) + [source.long_text(options.characters)]
    train = list(source.real_texts(1500000))
    different = 0
    with tempfile.TemporaryDirectory(prefix="bora-tokenizers-") as folder:
        for name in options.families or FAMILIES:
            different += FAMILIES[name](texts, train, folder)
    print(f"{different} differ" if different else "no difference")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Texts for comparing tokenizers: mixed real text of this machine's Debian packages, and strings made at random.

real_texts(characters)  paragraphs of documentation, translations, source code and Python's own sources, in an order that depends on nothing
long_text(characters)  real texts as one
fuzzed_texts(count, seed)  strings that meet the edges of pre-split patterns, normalisers and vocabularies
"""
import pathlib
import random
import sys
import unicodedata

SOURCES = [  # what a Debian machine with Python and a compiler has; absent ones are passed over
    ("/usr/share/doc", "copyright", 400),
    ("/usr/share/perl", ".pm", 120),
    ("/usr/share/perl", ".pl", 60),
    ("/usr/include", ".h", 120),
    ("/usr/share/i18n/locales", "", 80),
    ("/usr/share/zoneinfo", ".tab", 10),
    ("/usr/share/common-licenses", "", 20),
    ("/usr/share/unicode", ".txt", 20),
    (str(pathlib.Path(sys.base_prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"), ".py", 200),
    ("/usr/lib/python3", ".py", 100),
    ("/usr/share/X11/locale", "Compose", 10),
]
TRANSLATIONS = "/usr/share/locale"  # compiled message files: text in a hundred languages


def files(root, end, most):
    found = sorted(p for p in pathlib.Path(root).rglob("*") if p.is_file() and p.name.endswith(end)) if pathlib.Path(root).is_dir() else []
    step = max(1, len(found) // most)
    return found[::step][:most]


def messages(path):
    """The translated strings of a .mo file."""
    data = path.read_bytes()
    if len(data) < 28 or data[:4] != b"\xde\x12\x04\x95":
        return
    number = lambda at: int.from_bytes(data[at:at + 4], "little")
    for i in range(number(8)):
        length, offset = number(number(16) + 8 * i), number(number(16) + 8 * i + 4)
        try:
            yield data[offset:offset + length].decode()
        except UnicodeDecodeError:
            continue


def translations():
    by_language = {}
    for path in sorted(pathlib.Path(TRANSLATIONS).rglob("*.mo")) if pathlib.Path(TRANSLATIONS).is_dir() else []:
        by_language.setdefault(path.parts[4], []).append(path)
    for language in sorted(by_language):
        text = "\n".join(m for path in by_language[language][:6] for m in messages(path))
        for at in range(0, min(len(text), 24000), 3000):
            yield text[at:at + 3000]


def characters_of_unicode():
    """Every assigned character once, in rows of 64, with a little around them."""
    row = []
    for code in range(0x20, 0x30000):
        c = chr(code)
        if unicodedata.category(c) in ("Cn", "Cs", "Co"):
            continue
        row.append(c)
        if len(row) == 64:
            yield "".join(row)
            yield " ".join(row)
            row = []


def embedded():
    """What every machine has: names of characters and sentences of several scripts, so that there is always something."""
    yield from ("The quick brown fox jumps over the lazy dog. 1234567890 It's they'll WE'RE don't I'd\n\n  indented\ttab\r\nline",
                "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich – „Anführung“, 3,14 € und 50 %.",
                "Съешь же ещё этих мягких французских булок, да выпей чаю. ПРИВЕТ Мир", "いろはにほへと ちりぬるを 我が世誰そ 常ならむ。カタカナ",
                "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。", "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
                "نص حكيم له سر قاطع وذو شأن عظيم", "दूरदर्शन ऋषियों को सताने वाले दुष्ट राक्षसों", "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 e\u0301 ﬁ Ⅷ ½ ２３ \u00a0\u3000x")


def real_texts(characters):
    groups = [list(embedded()), list(translations()), list(characters_of_unicode())]
    for root, end, most in SOURCES:
        group = []
        for path in files(root, end, most):
            try:
                text = path.read_bytes()[:400000].decode()
            except (UnicodeDecodeError, OSError):
                continue
            group += [text[at:at + 3000] for at in range(0, min(len(text), 30000), 3000)]
        groups.append(group)
    total, at = 0, 0
    while total < characters and any(at < len(g) for g in groups):
        for group in groups:  # one of each in turn, so that a short run has of everything
            if at < len(group) and total < characters:
                yield group[at]
                total += len(group[at])
        at += 1


def long_text(characters):
    """All of them as one: sums of scores, lists of merges and positions grow as they do not in short texts."""
    return "".join(real_texts(characters))[:300000]


ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJ", "0123456789", " ", "  ", "\n", "\r\n", "\t", "'", "'s", "'S", "'ll", "'RE", "'ve", "'d", "'ſ",
    ".,;:!?-_/\\()[]{}<>@#$%^&*+=|~`\"", "éèüößñçÅÉ", "абвгдАБВГДё", "αβγΔΩ", "中文字符日本語", "한국어텍스트", "العربيةنص", "हिन्दी", "ไทย", "😀🎉👍🏽🇩🇪", "\u0301\u0308\u20dd", "\u200d\u200b\ufeff",
    "\u00a0\u2003\u3000\u2028\x85\x0b", "½²Ⅷ٣४", "ǅǈ", "ʰˇ", "ª", "▁", "▁▁", "<s>", "</s>", "<unk>", "[INST]", "[/INST]", "<0x0A>", "<|im_end|>", "ﬁＡｂ①", "\x00\x01\x7f", "İıẞ", "\u0344\u0958\u2126", "क्षि",
    "/", "//", "\n/", "http://www.example.com/path?query=1&x=[2]", "int main(void) { return 0; }", "\U00020000\U0001F600", "the ", " The", "ing", "tion",
]


def fuzzed_texts(count, seed):
    chosen = random.Random(seed)
    for _ in range(count):
        parts = []
        kinds = chosen.sample(ALPHABETS, chosen.randint(1, 5))
        for _ in range(chosen.randint(1, 12)):
            kind = chosen.choice(kinds)
            if len(kind) > 3 and chosen.random() < 0.8:
                parts.append("".join(chosen.choice(kind) for _ in range(chosen.randint(1, 6))))
            else:
                parts.append(kind * chosen.choice((1, 1, 1, 2, 3)))
            if chosen.random() < 0.02:
                code = chosen.randrange(0x20, 0x30000)
                if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co"):
                    parts.append(chr(code))
        yield "".join(parts)

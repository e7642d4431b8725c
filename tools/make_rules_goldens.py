#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Make tests/golden/grammar/rules.json: what others say of texts under small grammars.

    python3 -m venv V && V/bin/pip install lark==1.3.1 llguidance==1.9.1 && V/bin/python tools/make_rules_goldens.py [--gbnf-validator PROGRAM]

Judges of Lark: lark (Earley, every split of a text into terminals) and llguidance. Of GBNF: llama.cpp's test-gbnf-validator (tests/test-gbnf-validator.cpp of its
sources, linked with its library) and llguidance. Each case is {dialect, grammar, longest, texts: [[text, verdicts...]]}, a verdict is true, false or null (the judge refuses
the grammar, or was not there). `longest`: llguidance reads the longest terminal, which loses texts of this grammar.
"""
import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path

import lark
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark

ROOT = Path(__file__).resolve().parent.parent
BYTES = LLTokenizer("byte")
MUTANTS = 30

# (grammar, texts that begin the search, whether the longest terminal loses texts)
GBNF = [
    ('root ::= "a" root "b" | ""\n', ["", "ab", "aaabbb", "aab"], False),
    ('root ::= expr\nexpr ::= term (("+" | "-") term)*\nterm ::= num | "(" expr ")"\nnum ::= [0-9]+\n', ["1+2", "(1-(22+3))-4", "((7))"], False),
    ('root ::= "x"{2,4} [a-c]{3} ("yz"){0,2} .?\n', ["xxabc", "xxxxcccyz", "xxaaayzyz!", "xxxaba\n"], True),
    ('root ::= [^a-c\\n]+ "\\n" # one line\n\n# another comment\n', ["hello\n", "xyz zz\n", "é€😀\n", "d"], False),
    ('root ::= ws item ("," ws item)* ws\nitem ::= "[" ws (item ("," ws item)*)? ws "]"\nws ::= [ \\t\\n]*\n', ["[]", " [[],[ ]] ", "[],[[[]]]"], False),
    ('root ::= s\ns ::= "a" s |\n  "b"\n', ["b", "aab", "aaaa"], False),
    ('root ::= "\\x41\\u00e9\\U0001F600" [\\x30-\\x39\\u0660-\\u0669]*\n', ["Aé😀", "Aé😀09٣", "Aé"], False),
    ('root ::= ("" | "a") ("b" | "") ("a" "b"?)*\n', ["", "a", "ab", "abaab", "ba"], True),
    ('root ::= (a | b)+\na ::= "x" | "(" root ")"\nb ::= "xx" "y"?\n', ["x", "xxy", "(xx)xxy", "((x)xy)"], True),
    ('root ::= "[\\"]" [\\]\\[\\\\"-] "]"\n', ["[\"]]]", "[\"]-]", "[\"]\\]"], False),
    ('root-rule-2 ::= "q"\nroot ::= root-rule-2{2,} Zed?\nZed ::= "z"*\n', ["qq", "qqqzz", "qz"], False),
    ('root ::= value\nvalue ::= object | array | string | "null"\nobject ::= "{" (pair ("," pair)*)? "}"\npair ::= string ":" value\n'
     'array ::= "[" (value ("," value)*)? "]"\nstring ::= "\\"" ([^"\\\\\\x00-\\x1F] | "\\\\" ["\\\\nt])* "\\""\n',
     ['{"a":[null,"b\\n"],"c":{}}', '["x","",{}]', '"é😀\\""'], False),
    ('root ::= n{0,3} "."\nn ::= "(" n? ")"\n', [".", "(()).", "()()(((()))).", "()()()()."], False),
    ('root ::= (("a" | "b") root? ("c" | "d")){1,2}\n', ["ac", "aacd", "aacbdd"], False),
]
LARK = [
    ('start: "a" start "b" | "c"\n', ["c", "acb", "aacbb"], False),
    ('start: sum\n?sum: product | sum "+" product -> add | sum "-" product -> sub\n?product: atom | product "*" atom\n'
     '?atom: NUMBER | "(" sum ")"\nNUMBER: /[0-9]+(\\.[0-9]+)?/\n%ignore " "\n', ["1 + 2*3", " (1.5-2) * 4", "((1))", "1 2"], False),
    ('start: A B\nA: /a+/\nB: /a*b/\n', ["ab", "aaab", "aab", "b"], True),
    ('start: (WORD | INT)+\n%import common.WORD\n%import common.INT\n%import common.WS\n%ignore WS\n', ["ab 12", "ab12 c", " x\t\n1 "], False),
    ('start: "if"i NAME ("," NAME)* ["end"]\nNAME: /[a-z]+/\n%ignore / +/\n', ["IF a , b end", "if a", "iF x,y", "ifx"], False),
    ('start: item~2..3\nitem: "x" | "<" item ">"\n', ["xx", "x<x>", "xx<<x>>", "xxxx"], False),
    ('start: LETTER+ "." HEX~2\nLETTER: "a".."f" | "é".."ü"\nHEX: "0".."9" | "A".."F"\n', ["abé.0F", "f.99", "ü.A0"], False),
    ('start: _x | Y\n_x: "1" _x | "2"\nY: "a" ("b" | "c")* "d"?\n', ["112", "abcbd", "a", "2"], False),
    ('start: a | b\na: "x" a | "x"\nb: "x" b "y" |\n', ["", "xxx", "xxyy", "xxy"], False),
    ('start: stmt*\nstmt: "let" CNAME "=" value ";"\nvalue: SIGNED_NUMBER | ESCAPED_STRING | "[" [value ("," value)*] "]"\n'
     '%import common (CNAME, SIGNED_NUMBER, ESCAPED_STRING, WS_INLINE, NEWLINE)\n%ignore WS_INLINE\n%ignore NEWLINE\n',
     ['let x=1;', 'let a_1 = [ -1.5e3 , "q\\"" , [] ];\nlet y="";', 'letx=1;'], True),
    ('start: line+\nline: /[^\\n]+/ NL // rest\nNL: "\\n"\n', ["a\n", "a b\n#c\n", "\n"], False),
    ('start: "a"? ("b"+ | "c"*) "d"\n', ["d", "abd", "accd", "bbd", "bcd"], False),
    ('start: kv ("&" kv)*\nkv: KEY "=" VALUE?\nKEY: /\\w+/\nVALUE: /[^&=]+/\n', ["a=1", "a=&b=2", "k_1=x y&z="], False),
    ('!start: "(" start ")" | start start | "x"\n', ["x", "(x)x", "((x)(x))", "xx(xx)"], False),
    ('start: T | U\nT.5: "ab"\nU: /a.?/s\n%ignore "#"\n', ["ab", "a#b", "#a\n#", "#ab##"], True),
    ('start: "a" b\n  | "c"\nb: (\n "x"\n  | "y" )\n', ["ax", "ay", "c"], False),
]


def mutants(seeds, rng):
    """The seeds and texts that differ from them a little."""
    alphabet = sorted(set("".join(seeds)) | {"x"})
    texts = dict.fromkeys(seeds)
    while len(texts) < len(seeds) + MUTANTS:
        text = list(rng.choice(list(texts)))
        for _ in range(rng.randint(1, 2)):
            at = rng.randint(0, len(text))
            change = rng.randint(0, 3)
            if change == 0:
                text[at:at] = rng.choice(alphabet)
            elif change == 1:
                del text[at:at + 1]
            elif change == 2 and text:
                text[at:at + 1] = rng.choice(alphabet)
            else:
                other = rng.choice(seeds)
                text[at:at] = other[:rng.randint(0, len(other))]
        if len(text) < 40:
            texts["".join(text)] = None
        else:
            texts["".join(text[:39])] = None
    return list(texts)


def judge_llguidance(grammar, texts):
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(grammar), log_level=0)
    if matcher.is_error():
        return [None] * len(texts)
    verdicts = []
    for text in texts:
        matcher.reset()
        data = list(text.encode())
        taken = matcher.try_consume_tokens(data) if data else 0
        verdicts.append(taken == len(data) and matcher.is_accepting())
    return verdicts


def judge_lark(grammar, texts):
    try:
        parser = lark.Lark(grammar, parser="earley", lexer="dynamic_complete", ambiguity="resolve")
    except lark.exceptions.LarkError:
        return [None] * len(texts)
    verdicts = []
    for text in texts:
        try:
            parser.parse(text)
            verdicts.append(True)
        except lark.exceptions.UnexpectedInput:
            verdicts.append(False)
    return verdicts


def judge_llama(program, grammar, texts):
    if program is None:
        return [None] * len(texts)
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        rules, text_file = Path(folder) / "g.gbnf", Path(folder) / "t.txt"
        rules.write_text(grammar)
        for text in texts:
            text_file.write_bytes(text.encode())
            answer = subprocess.run([program, rules, text_file], capture_output=True, check=False)
            said = answer.stdout.decode(errors="replace")
            verdicts.append(True if "is valid" in said else False if "is invalid" in said else None)
    return verdicts


def case(dialect, grammar, seeds, longest, first, as_lark):
    texts = mutants(seeds, random.Random(grammar))
    second = judge_llguidance(as_lark, texts)
    judged = [list(t) for t in zip(texts, first(grammar, texts), second)]
    print(dialect, repr(grammar[:40]), sum(t[1] is True for t in judged), sum(t[2] is True for t in judged), len(judged), judged[0][1:])
    return {"dialect": dialect, "grammar": grammar, "longest": longest, "texts": judged}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gbnf-validator", help="llama.cpp's test-gbnf-validator")
    program = parser.parse_args().gbnf_validator
    cases = [case("gbnf", *g, lambda a, b: judge_llama(program, a, b), gbnf_to_lark(g[0])) for g in GBNF]
    cases += [case("lark", *g, judge_lark, g[0]) for g in LARK]
    out = ROOT / "tests/golden/grammar/rules.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()

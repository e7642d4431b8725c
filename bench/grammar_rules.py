# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Regexes and user grammars as masks, beside llguidance: the part of bench/grammar.py that has no schemas.

Both sides get the same text where both read it (Lark, regexes); GBNF has a Lark twin for llguidance. All instances are in the language by both sides' reading.
"""
import tempfile
from pathlib import Path

from report import percentile

JSON_GBNF = r'''root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
'''
JSON_LARK = r'''start: object
value: object | array | STRING ws | NUMBER ws | ("true" | "false" | "null") ws
object: "{" ws ( STRING ws ":" ws value ("," ws STRING ws ":" ws value)* )? "}" ws
array: "[" ws ( value ("," ws value)* )? "]" ws
STRING: /"([^"\\\x7F\x00-\x1F]|\\(["\\bfnrt]|u[0-9a-fA-F]{4}))*"/
NUMBER: /-?([0-9]|[1-9][0-9]{0,15})(\.[0-9]+)?([eE][-+]?[0-9][1-9]{0,15})?/
ws: WS?
WS: / |\n[ \t]{0,20}/
'''
CHESS_GBNF = r'''root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
'''
CHESS_LARK = r'''start: "1. " MOVE " " MOVE "\n" (NO ". " MOVE " " MOVE "\n")+
NO: /[1-9][0-9]?/
MOVE: /(([a-h]x)?[a-h][1-8](=[NBKQR])?|[NBKQR][a-h]?[1-8]?x?[a-h][1-8]|O-O(-O)?)[+#]?/
'''
C_LIKE = r'''start: statement+
statement: IDENT "=" expr ";" WS? | "if" WS? "(" expr ")" WS? block | "while" WS? "(" expr ")" WS? block | "return" WS expr ";" WS?
block: "{" WS? statement* "}" WS?
expr: term (WS? OP WS? term)*
term: IDENT | NUMBER | call | "(" expr ")" | "-" term | "!" term
call: IDENT "(" (expr ("," WS? expr)*)? ")"
OP: "+" | "-" | "*" | "/" | "%" | "==" | "!=" | "<=" | ">=" | "<" | ">" | "&&" | "||"
IDENT: /[a-zA-Z_][a-zA-Z0-9_]*/
NUMBER: /[0-9]+(\.[0-9]+)?/
WS: /[ \n\t]+/
'''
SQL = r'''start: select
select: "SELECT" WS columns WS "FROM" WS NAME (WS join)* (WS "WHERE" WS condition)? (WS "GROUP BY" WS names)? (WS "ORDER BY" WS NAME (WS ("ASC"|"DESC"))?)? (WS "LIMIT" WS INT)?
columns: "*" | column ("," WS? column)*
column: value (WS "AS" WS NAME)?
value: NAME ("." NAME)? | INT | STRING | FUNC "(" (value | "*") ")"
FUNC: "COUNT" | "SUM" | "AVG" | "MIN" | "MAX"
join: ("LEFT" WS | "INNER" WS)? "JOIN" WS NAME WS "ON" WS condition
condition: comparison (WS ("AND"|"OR") WS comparison)*
comparison: value WS? COMP WS? value | value WS "IN" WS? "(" (select | value ("," WS? value)*) ")" | "NOT" WS comparison | "(" condition ")"
COMP: "=" | "<>" | "<=" | ">=" | "<" | ">" | "LIKE"
names: NAME ("," WS? NAME)*
NAME: /[a-zA-Z_][a-zA-Z0-9_]*/
INT: /[0-9]+/
STRING: /'([^'\n]|'')*'/
WS: /[ \n\t]+/
'''
ARITHMETIC = r'''start: e
e: e "+" t | e "-" t | t
t: t "*" f | t "/" f | f
f: NUMBER | "(" e ")" | NAME
NAME: /[a-z]+/
NUMBER: /[0-9]+(\.[0-9]+)?/
%ignore / +/
'''
MARKDOWN = r'''start: (HEADING | item | paragraph | code)+
HEADING: /#{1,6} [^\n]+\n/
item: /( {2}){0,3}[-*] [^\n]+\n/
paragraph: /[A-Za-z][^\n]*\n\n/
code: "```" /[a-z]*/ "\n" (/[^`\n][^\n]*/? "\n")* "```\n"
'''
CSV = r'''start: row+
row: field ("," field)* "\n"
field: PLAIN | QUOTED | ""
PLAIN: /[^",\n\r]+/
QUOTED: /"([^"]|"")*"/
'''
PYTHON_LIKE = r'''start: (simple "\n")+
simple: assign | call | "import" SP NAME | "return" SP expr | "pass" | "assert" SP expr
assign: NAME SP? ("=" | "+=" | "-=") SP? expr
expr: atom (SP? OP SP? atom)* | "lambda" SP NAME ":" SP? expr | atom SP "if" SP expr SP "else" SP expr
atom: NAME | NUMBER | STRING | call | list | dict | "(" expr ")" | "not" SP atom | atom "." NAME | atom "[" expr "]"
call: atom "(" (arg ("," SP? arg)*)? ")"
arg: expr | NAME "=" expr
list: "[" (expr ("," SP? expr)*)? "]"
dict: "{" (expr ":" SP? expr ("," SP? expr ":" SP? expr)*)? "}"
OP: "+" | "-" | "*" | "//" | "/" | "**" | "==" | "!=" | "<" | ">" | "and" | "or" | "in"
NAME: /[a-zA-Z_][a-zA-Z0-9_]*/
NUMBER: /[0-9]+(\.[0-9]+)?/
STRING: /"([^"\\\n]|\\.)*"/ | /'([^'\\\n]|\\.)*'/
SP: / +/
'''
MARKUP = r'''start: element
element: "<" TAG attr* ">" content* "</" TAG ">" | "<" TAG attr* "/>"
attr: " " TAG "=" VALUE
content: element | TEXT
TAG: /[a-z][a-z0-9-]*/
VALUE: /"[^"<>]*"/
TEXT: /[^<>]+/
'''
CALL = r'''start: THOUGHT call
THOUGHT: /<think>([^<]|<[^\/])*<\/think>\n/
call: "search(" STR ")" | "weather(" STR ", " INT ")" | "write_file(" STR ", " STR ")"
STR: /"([^"\\]|\\["\\n])*"/
INT: /-?[0-9]{1,6}/
'''
# name: (kind, text, text for llguidance, instances)
GRAMMARS = {
    "JSON": ("gbnf", JSON_GBNF, JSON_LARK, [
        '{"name": "Ada Lovelace", "born": 1815, "works": [{"title": "Notes on the Analytical Engine", "pages": 66.5}, {"title": "Letters", "year": null}], "mathematician": true}',
        '{"query": "SELECT * FROM t WHERE a = \\"x\\"", "limit": [10, -20, 3.5e3], "nested": {"a": {"b": {"c": [[1, 2], [3, [4, [5]]]]}}}, "unicode": "na\u00efve caf\u00e9 \u65e5\u672c\u8a9e"}',
        '{\n  "id": 17,\n  "tags": ["alpha", "beta", "gamma delta"],\n  "comment": "This is a longer sentence, with punctuation; it goes on (and on) until it ends."\n}']),
    "chess": ("gbnf", CHESS_GBNF, CHESS_LARK, ["1. e4 e5\n2. Nf3 Nc6\n3. Bb5 a6\n4. Ba4 Nf6\n5. O-O Be7\n6. Re1 b5\n7. Bb3 d6\n8. c3 O-O\n9. h3 Nb8\n10. exd5 Qxd5+\n"]),
    "C-like": ("lark", C_LIKE, None, [
        "total=0;\nwhile (index < length && !done) { total=total + values_at(index, 3) * 2; index=index + 1; if (total >= limit_value) { done=1; } }\nreturn total / (length - 1);",
        "x=compute_checksum(buffer, size % 4096, (a + b) * -c);\nif (x != 0) { return handle_error(x, 17.25); }\nreturn x;"]),
    "SQL": ("lark", SQL, None, [
        "SELECT c.name, COUNT(*) AS orders FROM customers INNER JOIN orders ON c.id = o.customer_id WHERE o.total > 100 AND c.country IN ('Germany', 'France') GROUP BY name ORDER BY orders DESC LIMIT 10",
        "SELECT * FROM events WHERE kind = 'It''s a longer literal, with text' AND NOT (level < 3 OR source LIKE '%kernel%')"]),
    "arithmetic": ("lark", ARITHMETIC, None, ["(1 + 2.5) * alpha - 42 / (beta + 7 * (gamma - 3))", "12345 + 678 * (90 - x) / y + ((((1)))) - zeta * zeta"]),
    "Markdown": ("lark", MARKDOWN, None, ["# A heading\n- first item with **bold** text\n- second item\n  - nested, \"quoted\" and <b>html</b>\nA paragraph of plain text that runs on for a while.\n\n```python\nprint(1)\n\nx = 3\n```\n"]),
    "CSV": ("lark", CSV, None, ['name,age,comment\nAda,36,"mathematician, ""first"" programmer"\nGrace Hopper,85,rear admiral\nLinus,,"multi\nline text"\n']),
    "Python-like": ("lark", PYTHON_LIKE, None, ["import numpy\nresult = numpy.zeros(10, dtype=\"float32\")[index + 1].reshape(2, 5)\nnames = ['Ada', \"Grace Hopper\", {\"k\": [1, 2, 3.5]}]\ntotal += sum(x) if len(x) > 0 else not done\nprint(\"The total is: \\\"%d\\\"\", total)\n"]),
    "markup": ("lark", MARKUP, None, ['<div class="main page"><h1 id="top">Title: a "quoted" one</h1><p>Some text, with\nline breaks &amp; entities.</p><br/><ul><li>One</li><li>Two items</li></ul></div>']),
    "thought and call": ("lark", CALL, None, ['<think>The user wants to know the weather in Paris; 3 < 4, so I should call it.</think>\nweather("Paris, France", 14)', '<think>ok</think>\nwrite_file("notes.txt", "line one\\nline \\"two\\"")']),
    "date": ("regex", r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", None, ["2024-02-29T23:59:59.123456Z", "1999-12-31T00:00:00+01:00"]),
    "mail address": ("regex", r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*\.[a-zA-Z]{2,10}", None, ["ada.lovelace+analytical@mathematics.example.org", "support-team42@mail.example.org"]),
    "URL": ("regex", r"https?://[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]{1,5})?(/[a-zA-Z0-9._~%!$&()*+,;=:@-]*)*(\?[a-zA-Z0-9._~%&=+-]*)?(#[a-zA-Z0-9_-]*)?", None, ["https://www.example.com:8080/path/to/some_page.html?query=constrained+decoding&page=2#section-3"]),
    "free line": ("regex", r"Answer: [^\n]{1,200}\nConfidence: (low|medium|high)", None, ["Answer: The quick brown fox, \"jumping\" over 13 lazy dogs; that's all.\nConfidence: medium"]),
    "words": ("regex", r"([a-z]+ )*[a-z]+\.", None, ["the quick brown fox jumps over the lazy dog and keeps running until night falls."]),
    "telephone": ("regex", r"\+[1-9][0-9]{0,2} \([0-9]{1,4}\) [0-9]{3}-[0-9]{4}", None, ["+1 (650) 555-0123"]),
    "UUID": ("regex", r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", None, ["123e4567-e89b-12d3-a456-426614174000"]),
}
BARS = {"p50": 0.33, "p99": 0.33, "max": 0.125}


def check(side, folder, name, files):
    """Bora's answer; a process for every grammar, which is compiled anew."""
    kind, text, _, instances = GRAMMARS[name]
    option = ["--regex", text] if kind == "regex" else ["--grammar", files[name]]
    return side("check", folder, [{"id": name, "instances": instances}], *option, "--tokens")[0]


def round_of(sides, folder, files):
    """Both sides' answers by grammar, one side behind the other."""
    mine, lines = {}, []
    for name, (kind, text, twin, _) in GRAMMARS.items():
        mine[name] = check(sides["bora"], folder, name, files)
        lines.append({"id": name, "regex" if kind == "regex" else "lark": twin or text, "tokens": mine[name]["tokens"]})
    return mine, dict(zip(GRAMMARS, sides["llguidance"]("check", folder, lines), strict=True))


def rules_rows(report, sides, name, folder, rounds):
    with tempfile.TemporaryDirectory() as place:
        files = {}
        for grammar, (kind, text, *_) in GRAMMARS.items():
            files[grammar] = Path(place) / f"{grammar.replace(' ', '-')}.{kind}"
            files[grammar].write_text(text)
        results = [round_of(sides, folder, files) for _ in range(rounds)]
    for side, at in (("bora", 0), ("llguidance", 1)):
        accepted = sum(all(results[0][at][grammar]["accepted"]) and bool(results[0][at][grammar]["accepted"]) for grammar in GRAMMARS)
        report.row(f"{len(GRAMMARS)} regexes and grammars, {name}: texts accepted, {side}", [accepted] if at == 0 else [], [accepted] if at else [], "grammars")
    least = [[], []]
    for grammar in GRAMMARS:
        walks = [[pair[at][grammar]["mask_us"] for pair in results] for at in range(2)]
        for number in range(len(GRAMMARS[grammar][3])):
            count = min(len(walk[number]) for side in walks for walk in side)
            for at in range(2):
                least[at].extend(min(walk[number][token] for walk in walks[at]) for token in range(count))
    for what, bar in BARS.items():
        share = 1.0 if what == "max" else float(what[1:]) / 100
        label = f"mask {what} of regexes and grammars, {name}, beside llguidance"
        ratio = report.row(label, *([percentile(of, share)] for of in least), "us", f"{len(least[0])} of them, least of {rounds}", digits=2, ratio_digits=3)
        report.ratio(label, ratio, bar, at_least=False, digits=3)
    compiles = [[min(pair[at][grammar]["compile_us"] for pair in results) for grammar in GRAMMARS] for at in range(2)]
    label = f"compile p50 of regexes and grammars, {name}, beside llguidance"
    report.ratio(label, report.row(label, *([percentile(of, 0.5)] for of in compiles), "us", digits=2, ratio_digits=3), 0.5, at_least=False, digits=3)

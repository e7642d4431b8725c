#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Make tests/golden/templates/*.json: what Jinja2, set up as transformers sets it up, makes of templates.

    python3 -m venv V && V/bin/pip install jinja2==3.1.6 && V/bin/python tools/make_template_goldens.py

language.json: small programs, one for each thing the language has. chat.json: the chat templates of tests/golden/templates/*.jinja over conversations.
"""
import datetime
import json
import sys
from pathlib import Path

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests/golden/templates"
NOW = datetime.datetime(2026, 3, 5, 14, 7, 9)


class Generation(jinja2.ext.Extension):
    """transformers' {% generation %}, which for rendering is its body."""
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def environment():
    """As transformers.utils.chat_template_utils compiles templates."""
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return env


ENVIRONMENT = environment()


def render(template, variables):
    """{"output"} or {"error"}; an error's text when the template itself raised it."""
    try:
        return {"output": ENVIRONMENT.from_string(template).render(**variables)}
    except jinja2.exceptions.TemplateError as error:
        return {"error": str(error) if type(error) is jinja2.exceptions.TemplateError else ""}
    except Exception:
        return {"error": ""}


# ---- the language -----------------------------------------------------------------------------------------------------

DATA = {
    "s": "Hello, World", "u": "Grüße 日本 🎉", "blank": " \t x \n", "empty": "", "n": 7, "z": 0, "neg": -7, "f": 2.5, "yes": True, "no": False, "nothing": None,
    "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "d": {"x": 1, "b": [1, 2], "items": "mine", "e": {"k": "v"}},
    "users": [{"name": "Ann", "age": 3, "role": "user"}, {"name": "bob", "age": 1, "role": "system"}, {"name": "Cy", "role": "user"}],
    "big": 123456789012345678901234567890, "tricky": "a'b\"c\\d\n\u00a0\u200b\x07", "html": "<a href=\"x\">&'</a>", "lines": "a\nb\n\nc\n", "csv": "a,b,,c",
}

LANGUAGE = """
{{ s }}|{{ n }}|{{ f }}|{{ yes }}|{{ nothing }}|{{ missing }}|{{ l }}|{{ d }}|{{ big }}
{{ tricky }}|{{ [tricky] }}|{{ [s, "it's", 'say "x"', '''both ' "'''] }}
{{ 1 + 2 * 3 - 4 }}|{{ 7 // 2 }}|{{ -7 // 2 }}|{{ 7 % 3 }}|{{ -7 % 3 }}|{{ 7 % -3 }}|{{ 7 / 2 }}|{{ 6 / 2 }}|{{ 2 ** 10 }}|{{ 2 ** -1 }}|{{ -2 ** 2 }}|{{ 2 ** 3 ** 2 }}
{{ 1.0 }}|{{ 1e16 }}|{{ 1e-5 }}|{{ 100000.5 }}|{{ 1 + 1.5 }}|{{ 7.5 // 2 }}|{{ -7.5 % 2 }}|{{ 3.0 * 2 }}|{{ 0.1 + 0.2 }}|{{ 1_000 }}
{{ true and false }}|{{ 0 or 'x' }}|{{ 'a' and 'b' }}|{{ not 0 }}|{{ not not 1 }}|{{ none or none }}|{{ not yes == no }}
{{ 1 < 2 }}|{{ 1 < 2 < 3 }}|{{ 1 < 2 > 3 }}|{{ 'a' < 'b' }}|{{ 1 == 1.0 }}|{{ true == 1 }}|{{ 'x' == 'x' }}|{{ [1] == [1] }}|{{ {'a': 1} == {'a': 1} }}|{{ none == false }}|{{ 1 != 2 }}|{{ 2 >= 2 }}|{{ 2 <= 1 }}
{{ 'l' in s }}|{{ 'q' not in s }}|{{ 1 in l }}|{{ 'x' in d }}|{{ 'x' in missing }}|{{ 4 not in l }}
{{ s ~ n ~ nothing ~ missing ~ l }}|{{ 'a' 'b' "c" }}|{{ 'ab' * 3 }}|{{ 3 * 'x' }}|{{ [1] + [2, 3] }}|{{ 'x' + 'y' }}
{{ s[0] }}|{{ s[-1] }}|{{ s[99] }}|{{ u[0:4] }}|{{ u[6:] }}|{{ u[::-1] }}|{{ s[1:8:2] }}|{{ s[-5:] }}|{{ s[:-5] }}|{{ s[5:2] }}|{{ l[1:] }}|{{ l[::-1] }}|{{ l[-2:] }}|{{ l[10:] }}|{{ s[9:0:-3] }}
{{ d.x }}|{{ d['x'] }}|{{ d.b[1] }}|{{ d.e.k }}|{{ d['items'] }}|{{ d.missing }}|{{ d.get('x') }}|{{ d.get('q') }}|{{ d.get('q', 5) }}|{{ l.0 }}|{{ d.nope is defined }}
{{ d.items() | list }}|{{ d.keys() | list }}|{{ d.values() | list }}|{{ d | items | list }}
{{ 'yes' if n > 5 else 'no' }}|{{ 'a' if no }}|{{ 'a' if no else 'b' if no else 'c' }}|{{ (1 if yes else 2) + 1 }}
{% for x in l %}{{ x }}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
{% for x in [] %}x{% else %}none{% endfor %}|{% for x in l if x > 1 %}{{ loop.index }}:{{ x }} {% else %}none{% endfor %}|{% for x in l if x > 9 %}x{% else %}none{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}|{% for k in d %}{{ k }}{% endfor %}|{% for c in u %}[{{ c }}]{% endfor %}|{% for x in missing %}x{% endfor %}
{% for x in l %}{% for y in l %}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.index }};{% endfor %}
{% for x in range(5) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}|{{ range(3) | list }}|{{ range(5, 1, -2) | list }}|{{ range(2, 4) | list }}
{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% if n == 7 and s %}a{% elif n %}b{% else %}c{% endif %}|{% if missing %}a{% elif no %}b{% else %}c{% endif %}|{% if no %}a{% elif yes %}b{% endif %}|{% if no %}x{% endif %}
{% set a = 1 %}{{ a }}{% set a = a + 1 %}{{ a }}|{% set b, c = 1, 2 %}{{ b }}{{ c }}|{% for x in l %}{% set a = 9 %}{{ a }}{% endfor %}{{ a }}|{% if yes %}{% set a = 5 %}{% endif %}{{ a }}
{% set ns = namespace(x=1, y='q') %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{% set ns.new = 3 %}{{ ns.new }}|{{ ns.missing is defined }}
{% set text %}block {{ n }}{% endset %}{{ text }}|{% set t2 | upper %}abc{% endset %}{{ t2 }}|{% set t3 | trim | replace('a', 'b') %} aXa {% endset %}[{{ t3 }}]
{% macro hi(name, greeting='Hello', times=1) %}{{ greeting }} {{ name }}{{ times }}{% endmacro %}{{ hi('x') }}|{{ hi('y', 'Hi') }}|{{ hi(times=3, name='z') }}|{{ hi() }}|{{ hi('a') | upper }}|{{ hi('a') ~ 'b' }}
{% macro fact(x) %}{% if x < 2 %}1{% else %}{{ x * (fact(x - 1) | int) }}{% endif %}{% endmacro %}{{ fact(5) }}
{% macro outer() %}{{ later }}{{ n }}{% endmacro %}{% set later = 'L' %}{{ outer() }}{% for later in [1] %}{{ outer() }}{% endfor %}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}
{{ '  x ' | trim }}|{{ blank | trim }}|{{ 'xxaxx' | trim('x') }}|{{ s | upper }}|{{ s | lower }}|{{ 'hELLO wORLD' | capitalize }}|{{ 'hello-big (world) x_y' | title }}|{{ n | string + 'x' }}|{{ missing | upper }}
{{ s | length }}|{{ u | length }}|{{ l | length }}|{{ d | length }}|{{ missing | length }}|{{ l | count }}|{{ d | count }}
{{ l | first }}|{{ l | last }}|{{ s | first }}|{{ u | last }}|{{ [] | first }}|{{ l | join(', ') }}|{{ l | join }}|{{ users | join('-', attribute='name') }}|{{ 'abc' | join('.') }}
{{ missing | default('D') }}|{{ empty | default('D') }}|{{ empty | default('D', true) }}|{{ n | d('q') }}|{{ missing | default }}|{{ none | default('x') }}|{{ missing | default(default_value='k') }}
{{ s | replace('l', 'L') }}|{{ s | replace('l', 'L', 2) }}|{{ 'aaa' | replace('', '-') }}|{{ 'abab' | replace('ab', '') }}|{{ 5 | replace(5, 6) }}
{{ d | tojson }}|{{ l | tojson }}|{{ tricky | tojson }}|{{ u | tojson }}|{{ u | tojson(ensure_ascii=true) }}|{{ f | tojson }}|{{ none | tojson }}|{{ yes | tojson }}|{{ big | tojson }}|{{ html | tojson }}
{{ d | tojson(indent=2) }}|{{ [] | tojson(indent=4) }}|{{ [1, {'a': []}] | tojson(indent=4) }}|{{ d | tojson(separators=(',', ':')) }}|{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}|{{ {1: 2, none: 3, true: 4} | tojson }}
{{ 'abc' | list }}|{{ d | list }}|{{ l | list }}|{{ l | reverse | list }}|{{ 'abc' | reverse }}|{{ words | sort }}|{{ words | sort(reverse=true) }}|{{ words | sort(case_sensitive=true) }}|{{ users | sort(attribute='name') | map(attribute='name') | list }}|{{ words | unique | list }}
{{ users | map(attribute='name') | list }}|{{ users | map(attribute='age', default=0) | list }}|{{ words | map('upper') | list }}|{{ ['a b', 'c'] | map('replace', ' ', '_') | join(',') }}|{{ [[1, 2], [3]] | map('length') | list }}
{{ users | selectattr('role', 'equalto', 'user') | map(attribute='name') | list }}|{{ users | rejectattr('role', '==', 'user') | list }}|{{ users | selectattr('age') | list | length }}|{{ users | selectattr('age', 'defined') | list | length }}|{{ users | rejectattr('age', 'defined') | map(attribute='name') | first }}
{{ [1, 0, 2, none] | select | list }}|{{ [1, 2, 3, 4] | select('odd') | list }}|{{ [1, 2, 3] | reject('equalto', 2) | list }}|{{ l | select('in', [1, 2]) | list }}|{{ [1, 5] | select('>', 3) | list }}
{{ d | dictsort }}|{{ {'B': 1, 'a': 3, 'c': 2} | dictsort }}|{{ {'B': 1, 'a': 3, 'c': 2} | dictsort(true) }}|{{ {'B': 1, 'a': 3, 'c': 2} | dictsort(by='value', reverse=true) }}
{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent(width=1, blank=true) }}|{{ 'x\\ny' | indent('> ') }}
{{ '42' | int }}|{{ 'x' | int }}|{{ 'x' | int(9) }}|{{ 3.9 | int }}|{{ '3.9' | int }}|{{ ' 5 ' | int }}|{{ '2.5' | float }}|{{ 'x' | float(1.5) }}|{{ n | float }}|{{ true | int }}|{{ none | int }}
{{ -3 | abs }}|{{ -3.5 | abs }}|{{ 2.567 | round(2) }}|{{ 2.5 | round }}|{{ 2.1 | round(method='ceil') }}|{{ [1, 2, 3] | sum }}|{{ [1, 2.5] | sum }}|{{ l | max }}|{{ l | min }}|{{ [] | max }}|{{ users | selectattr('age', 'defined') | sum(attribute='age') }}
{{ [1, 2, 3, 4, 5] | batch(2) | list }}|{{ [1, 2, 3] | batch(2, 0) | list }}|{{ html | escape }}|{{ html | e }}|{{ html | safe }}
{{ n is defined }}|{{ missing is defined }}|{{ missing is undefined }}|{{ nothing is none }}|{{ s is string }}|{{ n is number }}|{{ f is float }}|{{ n is integer }}|{{ yes is boolean }}|{{ yes is number }}|{{ yes is integer }}|{{ d is mapping }}|{{ l is sequence }}|{{ s is sequence }}|{{ d is sequence }}|{{ l is iterable }}|{{ s is iterable }}|{{ n is iterable }}|{{ missing is iterable }}|{{ missing is sequence }}
{{ n is odd }}|{{ n is even }}|{{ n is divisibleby 7 }}|{{ n is divisibleby(2) }}|{{ n is equalto 7 }}|{{ n is eq 8 }}|{{ n is ne 8 }}|{{ n is in [7] }}|{{ n is not in [7] }}|{{ n is gt 3 }}|{{ n is le 7 }}|{{ yes is true }}|{{ 1 is true }}|{{ no is false }}|{{ 'abc' is lower }}|{{ 'ABC' is upper }}|{{ hi is callable }}|{{ n is not none }}|{{ n is not defined }}
{{ n is defined and n > 3 }}|{{ n is number or missing.x }}|{{ (n is string) == false }}|{{ not n is string }}|{{ n is string and n is boolean }}
{{ n is string is boolean }}
{{ '  x '.strip() }}|{{ ' x '.lstrip() }}|{{ ' x '.rstrip() }}|{{ 'xxa'.lstrip('x') }}|{{ 'a,b,c'.split(',') }}|{{ 'a,b,c'.split(',', 1) }}|{{ ' a  b '.split() }}|{{ ' a  b c '.split(none, 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}|{{ csv.split(',')[-1] }}|{{ lines.splitlines() }}|{{ 'a\\r\\nb'.splitlines(true) }}
{{ s.startswith('Hell') }}|{{ s.endswith('x') }}|{{ s.startswith(('x', 'H')) }}|{{ s.upper() }}|{{ s.lower() }}|{{ 'hELLO wORLD'.title() }}|{{ "it's 3rd".title() }}|{{ 'hELLO'.capitalize() }}|{{ s.replace('o', '0') }}|{{ s.replace('o', '0', 1) }}|{{ s.find('o') }}|{{ s.find('q') }}|{{ s.rfind('o') }}|{{ u.find('日') }}|{{ s.count('l') }}|{{ ','.join(words) }}|{{ 'abc'.removeprefix('a') }}|{{ 'abc'.removesuffix('c') }}|{{ '12'.isdigit() }}|{{ 'a1'.isalnum() }}|{{ 'ab'.isalpha() }}|{{ ' '.isspace() }}|{{ s.index('W') }}
{{ l.count(1) }}|{{ l.index(2) }}|{{ d.copy().x }}|{{ (1, 2) }}|{{ (1,) }}|{{ () }}|{{ [1, 'a', none, true, 1.5, [], {}] }}|{{ {'a': (1, 2)} }}
{{ dict(a=1, b=2) }}|{{ dict(d, x=5).x }}|{{ {'a': 1, 'a': 2} }}|{{ {} }}
{{ strftime_now('%Y-%m-%d') }}|{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%B %H:%M:%S %A') }}
{{ raise_exception('My own words') }}
{{ missing.attribute }}
{{ missing['x'] }}
{{ missing + 1 }}
{{ s + 1 }}
{{ n.x.y }}
{{ missing() }}
{{ 1 / 0 }}
{{ l < 3 }}
{% for a, b in l %}{% endfor %}
{{ 1 in 'abc' }}
{{ d | join(missing.x) }}
{{ [1, 'a'] | sort }}
{{ missing | tojson }}
{% if x %}
{{ unclosed
{% for x in %}{% endfor %}
{{ 'a' b }}
{% endif %}
{{ (1, 2 }}
{{ [1, 2) }}
{% set x %}never ended
{{ s | trim | }}
{{ 'a"b' ~ "c'd" }}|{{ 'tab\\there\\x41\\u00e9\\101\\q' }}|{{ '\\'' }}
{{ {'a': {'b': 1}}['a']['b'] }}|{{ {'a': {'b': 1}} }}{{ '}}' }}|{{ '%}' }}|{{ "{{" }}
{# comment #}x{# multi
line #}y|{#- strip -#} z
a {%- if yes -%} b {%- endif -%} c|a {{- 1 -}} b| {%- raw -%} {{ not }} {% if %} {%- endraw -%} d
{% raw %}{{ x }}{% endraw %}|{%+ if yes %} keep {%+ endif +%} z
{% generation %}gen {{ n }}{% endgeneration %}
{{ not }}
{{ x is }}
{{ users | selectattr('role', 'equalto', 'user') | list | length > 1 }}
{{ 'a' if 'b' is string else 'c' }}|{{ [x for x in l] }}
{{ -n }}|{{ +n }}|{{ - -n }}|{{ -f }}|{{ n - -1 }}|{{ -n | abs }}|{{ (-n) | abs }}
{{ l.append(4) }}
{% if no %}{{ l.append(4) }}{{ d.update(l) }}{% endif %}ok
{{ d.update({}) }}
{{ nothing | map(attribute='x') | list }}|{{ nothing | selectattr('x') | list }}|{{ nothing | reject('odd') | list }}|{{ missing | select | list }}|{{ 0 | rejectattr('x') | list }}
{{ 7 | select | list }}
{{ nothing | list }}
{% filter upper %}a{{ n }}b{% endfilter %}|{% filter replace('a', 'x') | trim %} {% for x in l %}a{{ x }}{% endfor %} {% endfilter %}|{% set q = 1 %}{% filter trim %}{% set q = 2 %} {% filter upper %}in{% endfilter %} {% endfilter %}{{ q }}
{% filter %}x{% endfilter %}
{{ s | xmlattr }}
{% include 'x' %}
""".strip("\n").split("\n")

MULTILINE = [
    "a\n{% if yes %}\n  b\n{% endif %}\nc\n",
    "a\n    {% if yes %}\n  b\n    {% endif %}\n  c\n\n",
    "  {% for x in l %}\n    {{ x }}\n  {% endfor %}\n",
    "{%- for x in l %}\n    {{- x }}\n  {%- endfor %}\n\n",
    "x  {# c #}\n  {# c #}\ny\n  {# c -#}  \n z",
    "x\r\n{% if yes %}\r\ny\r{% endif %}\r\nz\r\n",
    "  {{ n }}\n  {{- n }}\n  {{ n -}}\n  end",
    "a {% if yes %} b {% endif %} c\n{% set x = 1 %}\n{% set y = 2 %}\n\nd",
    "{% if yes %}\n\n  two lines\n{% endif %}",
    "{% raw %}\n {{ x }}\n  {% endraw %}\nend",
    "{% if yes +%}\nplus\n{%+ endif %}\nend",
    "text\n\t{%- set a = 1 -%}\n\n  more",
    "{{ '\n' }}x{{ \"a\\\nb\" }}",
    "{% macro m(x) %}\n  [{{ x }}]\n{% endmacro %}\n{{ m(1) }}\n{{- m(2) -}}\n",
    "{% for x in l %}{{ x }}{% if not loop.last %},\n{% endif %}{% endfor %}",
    "", "\n", "\n\n", "{{ '' }}\n", "no tags at all\n",
]

# ---- chat templates ---------------------------------------------------------------------------------------------------

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "Zürich or so"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather <now>", "parameters": PARAMETERS}},
         {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}]


def call(arguments, name="get_weather", id="abc123XYZ"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


USER, SYSTEM = {"role": "user", "content": "Hi <|im_end|> there"}, {"role": "system", "content": "  Be brief. "}
ANSWER = {"role": "assistant", "content": " Hello! \n"}
CALL = {"role": "assistant", "content": "", "tool_calls": [call({"city": "Bern", "days": 2})]}
RESULT = {"role": "tool", "content": "{\"temp\": 21}", "name": "get_weather", "tool_call_id": "abc123XYZ"}
CONVERSATIONS = {
    "user": {"messages": [USER]},
    "system": {"messages": [SYSTEM, USER]},
    "dialogue": {"messages": [USER, ANSWER, {"role": "user", "content": "\nAgain?"}]},
    "system, dialogue": {"messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "日本 🎉"}]},
    "no prompt": {"messages": [USER, ANSWER], "add_generation_prompt": False},
    "users in a row": {"messages": [USER, USER]},
    "assistant first": {"messages": [ANSWER, USER]},
    "thinking": {"messages": [USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}, USER]},
    "thinking off": {"messages": [USER], "enable_thinking": False},
    "tools": {"messages": [USER], "tools": TOOLS},
    "tools, system": {"messages": [SYSTEM, USER], "tools": TOOLS},
    "call": {"messages": [USER, CALL, RESULT], "tools": TOOLS},
    "call, answer": {"messages": [SYSTEM, USER, CALL, RESULT, ANSWER, USER], "tools": TOOLS},
    "two results": {"messages": [USER, {**CALL, "content": "Let me see.", "tool_calls": CALL["tool_calls"] + [call({}, "now", "abc123XYA")]}, RESULT, {**RESULT, "tool_call_id": "abc123XYA", "content": "x"}], "tools": TOOLS},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]},
    "empty": {"messages": []},
}
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None}  # as transformers passes them


def chat_cases():
    for path in sorted(FOLDER.glob("*.jinja")):
        for name, variables in CONVERSATIONS.items():
            yield path.name, name, {"add_generation_prompt": True, **SPECIALS, **variables}


def main():
    header = {"made_with": f"jinja2 {jinja2.__version__}", "now": "2026-03-05 14:07:09"}
    cases = [{"template": t, **render(t, DATA)} for t in LANGUAGE + MULTILINE]
    (FOLDER / "language.json").write_text(json.dumps({**header, "variables": json.dumps(DATA), "cases": cases}, indent=0) + "\n")
    chats = [{"file": file, "name": name, "variables": json.dumps(v), **render((FOLDER / file).read_text(), v)} for file, name, v in chat_cases()]
    (FOLDER / "chat.json").write_text(json.dumps({**header, "cases": chats}, indent=0) + "\n")
    print(f"{len(cases)} programs, {len(chats)} chats ({sum('error' in c for c in chats)} refused)", file=sys.stderr)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Make tests/golden/layouts/mistral.json: what mistral-common makes of a table of conversations, for every version of its layouts.

    python3 -m venv V && V/bin/pip install mistral-common==1.13.1 && V/bin/python tools/make_mistral_goldens.py

The vocabularies are 14 MB, so the goldens hold pieces: control tokens by name, and each text that the reference hands to its tokenizer by itself. With
--ids the same table is printed with token ids instead (tests/reference/test_mistral_layouts.py compares those live).
v7 to v15 tekken files are made of tekken_240911.json by naming their control tokens, as mistral-common's own tests do.
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path

import mistral_common
import numpy
from mistral_common.protocol.fim.request import FIMRequest

from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.image import ImageEncoder, ImageEncoding
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(mistral_common.__file__).parent / "data"
FILES = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v3-tekken": "tekken_240718.json",
    "v3-tekken-images": "tekken_240911.json",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
    "v7-images": "mistral_instruct_tokenizer_241114.model.v7m1",
    "v7-tekken": None,
    "v11": None,
    "v13": None,
    "v15": None,
}
NEW_CONTROLS = ["[TRANSCRIBE]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]", "[MODEL_SETTINGS]", "[/MODEL_SETTINGS]"]


def tekken_variant(folder, version):
    """tekken_240911.json as a file of `version`, with the control tokens that such files have."""
    data = json.loads((DATA / "tekken_240911.json").read_text())
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer
    names = [str(t["token_str"]) for t in Tekkenizer.DEPRECATED_SPECIAL_TOKENS]
    if version != "v7":
        names += [f"<SPECIAL_{i}>" for i in range(len(names), 31)] + NEW_CONTROLS
    data["config"]["version"] = version
    data["special_tokens"] = [{"rank": i, "token_str": n, "is_control": True} for i, n in enumerate(names)]
    data.pop("multimodal", None)
    data["image"] = {"image_patch_size": 14, "max_image_size": 1540, "spatial_merge_size": 2}
    if version == "v15":
        data["model_settings_builder"] = {
            "reasoning_effort": {"type": "enum", "values": ["none", "high"], "accepts_none": True, "default": "none"},
            "json_schema": {"type": "json_schema", "accepts_none": False, "default": None}}
    path = Path(folder) / version / "tekken.json"
    path.parent.mkdir()
    path.write_text(json.dumps(data))
    return path


class Image:
    def __init__(self, width, height):
        self.size = (width, height)


def encode_image(self, chunk):
    """The tokens of an image of the size that its URL names; no pixels."""
    width, height = (int(n) for n in chunk.get_url().removeprefix("size:").split("x"))
    columns, rows = self._image_to_num_tokens(Image(width, height))
    tokens = ([self.special_ids.img] * columns + [self.special_ids.img_break]) * rows
    tokens[-1] = self.special_ids.img_end
    return ImageEncoding(tokens=tokens, image=numpy.zeros(0))


ImageEncoder.__call__ = encode_image


TEXTS = []  # that were handed to the tokenizer
FIRST_TEXT = 10**7  # text i stands among the ids as this and i


def record(text, bos=False, eos=False):
    assert not bos and not eos
    if not text:
        return []
    TEXTS.append(text)
    ids = [FIRST_TEXT + len(TEXTS) - 1]
    return ids


def record_infilling(text):
    return record("\u263a" + text)  # the reference takes its first two ids away


# ---- the table --------------------------------------------------------------------------------------------------------

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Das Wetter: \u00bbjetzt\u00ab \u65e5\u672c\u8a9e",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Z\u00fcrich", "Bern"]}, "days": {"type": "integer", "minimum": 0, "maximum": 1e1}},
                   "required": ["city"]}}}
BARE = {"type": "function", "function": {"name": "now", "parameters": {}}}
STRICT = {"type": "function", "function": {"name": "add-two_3", "description": "", "strict": True, "parameters": {"type": "object", "b": 1.50, "a": [True, None, -0.0, 1e-7, 123456789012345678901234567890]}}}
ODD_JSON = '{"b":1e2, "a" : [1,2.50,-0, 1E400, -1e400, 1e16, 123456.0e-9, 5e-324], "b":"\\u00e9\\n\\u0001\\/", "\\u007f": NaN, "n": {"z":{}, "y":[ ]}}'


def user(*content):
    return {"role": "user", "content": content[0] if len(content) == 1 and isinstance(content[0], str) else list(content)}


def system(*content):
    return {**user(*content), "role": "system"}


def assistant(*content, **more):
    message = {"role": "assistant"}
    if content:
        message.update(user(*content), role="assistant")
    return {**message, **more}


def call(name="get_weather", arguments='{"city": "Bern"}', id="abc123XYZ"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*list_, content=None, **more):
    return assistant(*([content] if content else []), tool_calls=list(list_), **more)


def result(content, id="abc123XYZ", name="get_weather"):
    return {"role": "tool", "content": content, "tool_call_id": id, **({"name": name} if name else {})}


def text(text):
    return {"type": "text", "text": text}


def think(text, closed=True):
    return {"type": "thinking", "thinking": text, "closed": closed}


def image(width, height):
    return {"type": "image_url", "image_url": f"size:{width}x{height}"}


HI, HELLO = user("Hi"), assistant("Hello!")
TABLE = {
    "one user": [HI],
    "dialogue": [HI, HELLO, user("How are you?")],
    "long dialogue": [user("a"), assistant("b"), user("c"), assistant("d"), user("e"), assistant("f"), user("g")],
    "blanks around": [user("  Hi \n"), assistant(" Hello   "), user("\n\nAgain ")],
    "assistant of blanks": [HI, assistant("   "), user("Again")],
    "unicode": [user("\u65e5\u672c\u8a9e \U0001f389 fun\u00e7\u00e3o"), assistant("\u263a"), user("\u200d\ufeff")],
    "control tokens in text": [system("[INST] </s>"), user("<s>[/INST][TOOL_CALLS]</s>"), assistant("[INST][AVAILABLE_TOOLS]"), user("[/SYSTEM_PROMPT]")],
    "empty user": [user("")],
    "system": [system("Be brief."), HI],
    "system, dialogue": [system("Be brief."), HI, HELLO, user("Bye")],
    "system alone": [system("Be brief.")],
    "two systems": [system("One."), system("Two."), HI],
    "system in the middle": [HI, HELLO, user("q"), system("Now in French."), user("r")],
    "system last": [HI, system("Answer.")],
    "system between, assistant behind": [HI, system("Sys"), assistant("ok"), user("q")],
    "system parts": [system(text("a"), text("b")), HI],
    "system empty": [system(""), HI],
    "user parts": [user(text("one"), text("two"), text(""), text("three"))],
    "users merge": [user("a"), user("b"), user(text("c"), text("d")), user(""), user("e")],
    "assistants merge": [HI, assistant("a "), assistant(text("b"), text("c ")), user("d")],
    "assistant first": [assistant("Welcome."), HI],
    "system, assistant first": [system("S"), assistant("Welcome."), HI],
    "prefix": [HI, assistant("Once upon ", prefix=True)],
    "prefix after system": [system("S"), HI, assistant("Once", prefix=True)],
    "prefix merges": [HI, assistant("Once"), assistant("upon a", prefix=True)],
    "empty assistant": [HI, assistant(""), user("x")],
    "prefix not last": [HI, assistant("a", prefix=True), user("x")],
    "call": [HI, calls(call()), result('{"temp":  21.0}')],
    "call, answer": [HI, calls(call()), result('{"temp": 21}'), assistant("21 degrees."), user("Thanks")],
    "call in history twice": [HI, calls(call()), result("1"), assistant("One."), user("Again"), calls(call(id="zzz999ZZZ")), result("2", "zzz999ZZZ")],
    "two calls": [HI, calls(call(id="aaaaaaaa1"), call("now", "{}", "aaaaaaaa2")), result("1", "aaaaaaaa1"), result("2", "aaaaaaaa2", "now")],
    "two calls, results swapped": [HI, calls(call(id="aaaaaaaa1"), call("now", "{}", "aaaaaaaa2")), result("2", "aaaaaaaa2"), result("1", "aaaaaaaa1"), assistant("ok"), user("q")],
    "calls of neighbours": [HI, assistant("Let me see."), calls(call()), result("x")],
    "call with content": [HI, calls(call(), content="I look. "), result("x"), assistant("y"), user("z")],
    "call with prefix": [HI, calls(call(), prefix=True)],
    "arguments empty": [HI, calls(call(arguments="")), result("")],
    "arguments odd": [HI, calls(call(arguments=ODD_JSON)), result(ODD_JSON)],
    "arguments not JSON": [HI, calls(call(arguments="{'city': \"Bern\"\t}")), result("not \"JSON\"\x7f\u2028 \U0001f389")],
    "arguments scalar": [HI, calls(call(arguments=' "text" ')), result(" 1.0 ")],
    "arguments array": [HI, calls(call(arguments="[1 ,2,\n{}]")), result("[ ]")],
    "result parts": [HI, calls(call()), result([text("a"), text("b")])],
    "result without name": [HI, calls(call()), result("x", name=None)],
    "result blanks": [HI, calls(call()), result("  x  \n")],
    "result image": [HI, calls(call()), result([text("seen:"), image(64, 30)])],
    "two results, then a user": [HI, calls(call(id="aaaaaaaa1"), call("now", "{}", "aaaaaaaa2")), result("1", "aaaaaaaa1"), result("2", "aaaaaaaa2"), user("And?")],
    "id too long": [HI, calls(call(id="call_0123456789abcdef")), result("x", "call_0123456789abcdef")],
    "id null": [HI, calls(call(id="null")), result("x", "null")],
    "ids the same": [HI, calls(call(), call()), result("x"), result("y")],
    "result of no call": [HI, calls(call()), result("x", "zzzzzzzz9")],
    "call unanswered": [HI, calls(call())],
    "call unanswered in history": [HI, calls(call()), assistant("never mind"), user("q")],
    "name of a call is wrong": [HI, calls(call(name="a b")), result("x")],
    "image": [user(text("What?"), image(100, 50))],
    "image first": [user(image(100, 50), text("What?"))],
    "image between": [user(text("a"), image(28, 28), text("b"))],
    "two images": [user(text("a"), image(29, 1), image(500, 700))],
    "large image": [user(image(5000, 300), text("x"))],
    "thin image": [user(image(9000, 2), text("x"))],
    "image with system": [system("Look."), user(image(10, 10), text("x"))],
    "image in history": [user(text("a"), image(40, 40)), HELLO, user("q")],
    "images of merged users": [user(text("a"), image(20, 20)), user(text("b")), user("c", )],
    "image of an assistant": [HI, assistant(text("a"), text("b")), user(image(1, 1))],
    "thinking": [HI, assistant(think("Hm."), text("Hello. ")), user("q")],
    "thinking, open": [HI, assistant(think("Hm", False), prefix=True)],
    "thinking alone": [HI, assistant(think("Hm.")), user("q")],
    "thinking, then a call": [HI, calls(call(), prefix=False) | user(think("I should look."), text("Wait.")) | {"role": "assistant"}, result("x")],
    "thinking in the system": [system(text("Think."), think("like this"), text("Then answer.")), HI],
    "thinking twice": [HI, assistant(think("a"), think("b"), text("c"), text("d")), user("q")],
    "thinking in a user": [user(think("a"))],
}
WITH_TOOLS = ["one user", "dialogue", "system, dialogue", "users merge", "assistant first", "system last", "call", "call, answer", "call in history twice", "prefix", "image with system", "system alone", "thinking"]
FIM = [("def f(", "    return x"), ("def f(", ""), ("", "x"), ("", ""), (" a\n", "(x"), ("\u65e5", "\u672c"), ("a", " b"), ("a", "\nb"), ("a", "\u263a")]


def requests():
    for name, messages in TABLE.items():
        yield name, {"messages": messages}
    for name in WITH_TOOLS:
        yield f"{name}, tools", {"messages": TABLE[name], "tools": [WEATHER, BARE, STRICT]}
    yield "one tool", {"messages": [HI], "tools": [BARE]}
    yield "tool with a wrong name", {"messages": [HI], "tools": [{"type": "function", "function": {"name": "a.b", "parameters": {}}}]}
    for effort in ("none", "high", "low"):
        yield f"effort {effort}", {"messages": TABLE["dialogue"], "reasoning_effort": effort}
        yield f"effort {effort}, tools", {"messages": TABLE["dialogue"], "reasoning_effort": effort, "tools": [WEATHER]}
    yield "schema", {"messages": [HI], "json_schema": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}}}


def load(kind, folder):
    path = DATA / FILES[kind] if FILES[kind] else tekken_variant(folder, kind.removesuffix("-tekken"))
    return MistralTokenizer.from_file(str(path), mode=ValidationMode.serving), path


def answer(tokenizer, request, ids):
    """The prompt, or None when the reference refuses."""
    instruct = tokenizer.instruct_tokenizer
    request = dict(request)
    schema = request.pop("json_schema", None)
    if schema is not None:
        request["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    try:
        if "suffix" in request:
            return instruct.encode_fim(FIMRequest(prompt=request["prefix"], suffix=request["suffix"])).tokens
        return tokenizer.encode_chat_completion(ChatCompletionRequest(model="m", **request)).tokens
    except Exception:  # the reference refuses with assertions, too
        return None


def name_pieces(tokenizer, tokens):
    if tokens is None:
        return None
    names, raw = [], tokenizer.instruct_tokenizer.tokenizer
    for token in tokens:
        name = {"text": TEXTS[token - FIRST_TEXT]} if token >= FIRST_TEXT else raw.id_to_piece(token)
        if names and not isinstance(name, dict) and isinstance(names[-1], list) and names[-1][0] == name:
            names[-1][1] += 1  # many [IMG]
        elif names and not isinstance(name, dict) and names[-1] == name == "[IMG]":
            names[-1] = [name, 2]
        else:
            names.append(name)
    return names


def as_text(request):
    """Schemas as JSON text, so that no reader of the goldens changes their numbers."""
    request = json.loads(json.dumps(request))
    for tool in request.get("tools", []):
        tool["function"]["parameters"] = json.dumps(tool["function"]["parameters"])
    if "json_schema" in request:
        request["json_schema"] = json.dumps(request["json_schema"])
    return request


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--ids", metavar="FOLDER", help="keep the vocabularies in FOLDER and print ids, one JSON line a case")
    ids = arguments.parse_args().ids
    table = list(requests()) + [(f"fim {i}", {"prefix": p, "suffix": s}) for i, (p, s) in enumerate(FIM)]
    goldens = {"made_with": f"mistral-common {mistral_common.__version__}", "cases": []}
    cases = {name: {"name": name, "request": request, "prompts": {}} for name, request in table}
    with tempfile.TemporaryDirectory() as temporary:
        for kind in FILES:
            tokenizer, path = load(kind, ids or temporary)
            instruct = tokenizer.instruct_tokenizer
            instruct.decode = lambda *a, **k: ""
            if not ids:
                instruct.tokenizer.encode = record
                instruct._encode_infilling = record_infilling
            for name, request in table:
                if name.startswith("fim") and kind == "v2":
                    continue  # its vocabulary lacks [PREFIX] and [SUFFIX]: the reference writes <unk>
                if kind == "v1" and "tools" in request:
                    continue  # the reference drops them without a word; here they are refused
                tokens = answer(tokenizer, request, ids)
                if ids:
                    print(json.dumps({"kind": kind, "file": str(path), "name": name, "request": as_text(request), "ids": tokens}))
                else:
                    cases[name]["prompts"].setdefault(json.dumps(name_pieces(tokenizer, tokens)), []).append(kind)
    if ids:
        return
    for case in cases.values():
        case["request"] = as_text(case["request"])
        case["prompts"] = [{"kinds": kinds, "pieces": json.loads(pieces)} for pieces, kinds in case["prompts"].items()]
    goldens["cases"] = list(cases.values())
    out = ROOT / "tests/golden/layouts/mistral.json"
    out.write_text(json.dumps(goldens, ensure_ascii=True, indent=0) + "\n")
    accepted = sum(len(p["kinds"]) for c in cases.values() for p in c["prompts"] if p["pieces"] is not None)
    refused = sum(len(p["kinds"]) for c in cases.values() for p in c["prompts"] if p["pieces"] is None)
    print(f"{out}: {len(table)} conversations, {accepted} prompts, {refused} refusals", file=sys.stderr)


if __name__ == "__main__":
    main()

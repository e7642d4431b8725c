# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Does tools/lint.py notice what it is there for? A tree with one mistake each; no git, no clang-format needed."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

LINT = Path(__file__).resolve().parents[3] / "tools/lint.py"
HEAD = "/* Copyright Bora contributors\n * SPDX-License-Identifier: Apache-2.0 */\n"


def lint(files, *checks, environment=None):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return subprocess.run([sys.executable, str(LINT), "--root", root, *checks], capture_output=True, text=True, env=environment)


class Lint(unittest.TestCase):
    def expect(self, files, check, says):
        done = lint(files, check)
        self.assertEqual(done.returncode, 1 if says else 0, done.stdout + done.stderr)
        self.assertIn(says or f"lint {check}: ok", done.stdout)

    def test_a_room_may_not_look_up(self):
        self.expect({"base/a.c": HEAD + '#include "base/b.h"\n', "build/base/c.c": '#include "engine/x.h"\n'}, "includes", "")
        self.expect({"base/a.c": HEAD + '#include "engine/engine.h"\n'}, "includes", "base/a.c:3: base may not include engine/engine.h")
        self.expect({"services/keys/a.c": HEAD + '#  include "services/gateway/x.h"\n'}, "includes", "services/keys may not include services/gateway/x.h")
        self.expect({"engine/sampler/a.c": HEAD + '#include "engine/model/model.h"\n'}, "includes", "stands above engine/sampler")
        self.expect({"rpc/a.c": HEAD + '#include "a.h"\n'}, "includes", "from the root")

    def test_a_long_function_is_found(self):
        self.expect({"base/a.c": HEAD + "void f(void) {\n" + "    g();\n" * 68 + "}\n"}, "sizes", "")
        self.expect({"base/a.c": HEAD + "void f(void) {\n" + "    g();\n" * 69 + "}\n"}, "sizes", "f() has 71 lines")
        self.expect({"base/a.h": HEAD + "int x;\n" * 800}, "sizes", "802 lines")

    def test_a_missing_licence_and_a_banned_word_are_found(self):
        self.expect({"base/a.c": "int x;\n"}, "licences", "base/a.c: no SPDX licence line")
        self.expect({"base/a.c": HEAD + "strcat(a, b);\n"}, "words", "base/a.c:3: use bytes_append")

    def test_without_clang_format_the_rest_is_looked_at(self):
        done = lint({"base/a.c": HEAD + '#include "rpc/x.h"\n'}, environment={**os.environ, "PATH": "/nowhere"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("base may not include rpc/x.h", done.stdout)
        self.assertIn("lint format: skipped", done.stdout)


unittest.main()

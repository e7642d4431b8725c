# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The models and the texts that are measured with.

    135M Q4_1                 SmolLM2-135M-Instruct as `./dev up` serves it (its embedding is Q8_0)
    135M Q4_0, Q8_0, BF16     the same, requantised from Q4_1 by the peer's llama-quantize
    1.1B Q4_1, Q4_0, ...      TinyLlama's shape with SmolLM2's vocabulary of 49,152 and random weights (tools/make_random_model.py);
                              the output matrix is Q8_0 where the others have fewer bits
"""
import random
import subprocess
import sys
from dataclasses import dataclass

import peer
from places import CACHE, ROOT, say

REAL = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
MADE = CACHE / "models/bench"


@dataclass(frozen=True)
class Workload:
    size: str
    kind: str

    @property
    def name(self):
        return f"{self.size} {self.kind}"

    def path(self):
        """The file, made first where it is not there."""
        if (self.size, self.kind) == ("135M", "Q4_1"):
            return REAL
        path = MADE / (f"SmolLM2-135M-Instruct.{self.kind}.gguf" if self.size == "135M" else f"random-1.1B.{self.kind}.gguf")
        if not path.exists():
            MADE.mkdir(parents=True, exist_ok=True)
            say(f"making {path}")
            if self.size == "135M":
                peer.quantize(REAL, path, self.kind)
            else:
                make_random(path, self.kind)
        return path


def make_random(path, kind):
    output = ["--output-type", "Q8_0"] if kind.startswith(("Q4", "Q5", "Q6")) else []
    subprocess.run([sys.executable, str(ROOT / "tools/make_random_model.py"), "--tokenizer-from", str(REAL), "--type", kind, *output, str(path)], check=True)


SMALL = [Workload("135M", kind) for kind in ("Q4_1", "Q4_0", "Q8_0", "BF16")]
LARGE = [Workload("1.1B", kind) for kind in ("Q4_1", "Q4_0", "Q8_0", "BF16")]


def chosen(options):
    """The workloads that --models names ('135M', 'Q4_1', '1.1B Q4_0'); without it all, or the small ones for --quick."""
    if options.models is None:
        return SMALL if options.quick else SMALL + LARGE
    wanted = [word.strip() for word in options.models.split(",")]
    among = SMALL if options.quick and "1.1B" not in options.models else SMALL + LARGE
    found = [w for w in among if any(word in (w.size, w.kind, w.name) for word in wanted)]
    return found or sys.exit(f"bench: --models {options.models} names none of {', '.join(w.name for w in SMALL + LARGE)}")


# ---- texts -------------------------------------------------------------------------------------------------------------

WORDS = """time year people way day man thing woman life child world school state family student group country problem hand part place case week
company system program question work government number night point home water room mother area money story fact month lot right study book eye
job word business issue side kind head house service friend father power hour game line end member law car city community name president team
minute idea body information back parent face others level office door health person art war history party result change morning reason research
girl guy moment air teacher force education""".split()


def text(words, *seed):
    """So many common words, the same for the same seed; about one token each. Two seeds differ from the first word on."""
    source = random.Random("/".join(map(str, seed)))
    return " ".join(source.choice(WORDS) for _ in range(words))

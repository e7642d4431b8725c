# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of rounds, one table, and a last line per ratio."""
import json
import math
import statistics
from dataclasses import asdict, dataclass

from machine import Others

OTHERS_MAX = 0.1  # processors that others may use before a row says so


def percentile(values, share):
    """The smallest value that at least `share` of all do not pass (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def spread(values, digits=1):
    """Median, smallest and largest: '135.0 (128.1..140.2)'."""
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


@dataclass
class Ratio:
    """What a bar is set for. `at_least`: the bar is a floor, else a ceiling. None: measured without a bar."""

    name: str
    value: float
    bar: float | None = None
    at_least: bool = True
    unit: str = "x"
    note: str = ""

    def met(self):
        return self.bar is None or (self.value >= self.bar if self.at_least else self.value <= self.bar)

    def line(self):
        text = f"{self.name}: {self.value:.2f}{self.unit}"
        if self.bar is not None:
            text += f" (bar {'>=' if self.at_least else '<='} {self.bar:.2f}{self.unit}{', ' + self.note if self.note else ''})"
            text += "" if self.met() else "  BELOW THE BAR" if self.at_least else "  ABOVE THE BAR"
        return text


class Report:
    """Rows are printed as they come; `finish` prints the ratios."""

    WIDTHS = (52, 30, 30, 8)

    def __init__(self):
        self.rows, self.ratios = [], []
        self.others = Others()

    def measure(self):
        """The rows to come are measured from here on: what others use of the processors meanwhile is said in their notes."""
        self.others.start()

    def row(self, what, ours, theirs, unit, note="", digits=1):
        """One line of the table; both sides' rounds. Returns the ratio of medians, None where the peer has none."""
        if not self.rows:
            print(self.format("what", "bora", "llama.cpp", "ratio", ""))
        others = self.others.processors()
        if others > OTHERS_MAX:
            note += f"{', ' if note else ''}others used {others:.1f} processors"
        ratio = statistics.median(ours) / statistics.median(theirs) if ours and theirs and statistics.median(theirs) else None
        print(self.format(f"{what}, {unit}", spread(ours, digits), spread(theirs, digits), f"{ratio:.2f}" if ratio is not None else "-", note), flush=True)
        self.rows.append({"what": what, "unit": unit, "bora": list(ours), "peer": list(theirs), "ratio": ratio, "note": note, "others": round(others, 2)})
        return ratio

    def format(self, *cells):
        return "".join(f"{cell:<{width}}" for cell, width in zip(cells, self.WIDTHS)) + cells[-1]

    def ratio(self, name, value, *arguments, **fields):
        """A last line; none where there is no value because a side was not measured."""
        if value is not None:
            self.ratios.append(Ratio(name, value, *arguments, **fields))

    def finish(self, json_file=None, facts=None):
        if self.ratios:
            print()
        for ratio in self.ratios:
            print(ratio.line())
        if json_file:
            with open(json_file, "w") as file:
                json.dump({"facts": facts or {}, "rows": self.rows, "ratios": [asdict(r) | {"met": r.met()} for r in self.ratios]}, file, indent=1)

# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of rounds, one table, and a last line per ratio."""
import json
import math
import statistics
import time
from dataclasses import asdict, dataclass

from machine import Others, wait_calm

OTHERS_MAX = 0.1  # processors that others may use before a round counts as disturbed and a row says so


def percentile(values, share):
    """The smallest value that at least `share` of all do not pass (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def spread(values, digits=1):
    """Median, smallest and largest: '135.0 (128.1..140.2)'; a single value by itself."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
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
    digits: int = 2

    def met(self):
        return self.bar is None or (self.value >= self.bar if self.at_least else self.value <= self.bar)

    def line(self):
        text = f"{self.name}: {self.value:.{self.digits}f}{self.unit}"
        if self.bar is not None:
            text += f" (bar {'>=' if self.at_least else '<='} {self.bar:.2f}{self.unit}{', ' + self.note if self.note else ''})"
            text += "" if self.met() else "  BELOW THE BAR" if self.at_least else "  ABOVE THE BAR"
        return text


class Report:
    """Rows are printed as they come; `finish` prints the ratios."""

    WIDTHS = (52, 30, 30, 8)

    def __init__(self):
        self.rows, self.ratios = [], []
        self.peer = "llama.cpp"  # heads the other side's column
        self.others_used = 0.0  # processors, while the latest rounds were made

    def interleave(self, sides, rounds, patience_s=0.0):
        """{side: [sides[side](round), ...]}: every side once a round, every other round the other way round. For `patience_s` at most, rounds
        wait until others leave the processors alone, and more are made in place of those that were disturbed; the least disturbed count."""
        made, until = [], time.perf_counter() + patience_s
        while sum(used <= OTHERS_MAX for used, _ in made) < rounds and (len(made) < rounds or time.perf_counter() < until):
            wait_calm(OTHERS_MAX, until)
            others, order = Others(), list(sides) if len(made) % 2 == 0 else list(sides)[::-1]
            samples = {side: sides[side](len(made)) for side in order}
            made.append((others.processors(), samples))
        chosen = sorted(range(len(made)), key=lambda number: max(made[number][0], OTHERS_MAX))[:rounds]
        kept = [made[number] for number in sorted(chosen)]
        self.others_used = statistics.mean(used for used, _ in kept)
        return {side: [samples[side] for _, samples in kept] for side in sides}

    def row(self, what, ours, theirs, unit, note="", digits=1, ratio_digits=2):
        """One line of the table; both sides' rounds. Returns the ratio of medians, None where the peer has none."""
        if not self.rows:
            print(self.format("what", "bora", self.peer, "ratio", ""))
        if self.others_used > OTHERS_MAX:
            note += f"{', ' if note else ''}others used {self.others_used:.1f} processors"
        ratio = statistics.median(ours) / statistics.median(theirs) if ours and theirs and statistics.median(theirs) else None
        print(self.format(f"{what}, {unit}" if unit else what, spread(ours, digits), spread(theirs, digits), f"{ratio:.{ratio_digits}f}" if ratio is not None else "-", note), flush=True)
        self.rows.append({"what": what, "unit": unit, "bora": list(ours), "peer": list(theirs), "ratio": ratio, "digits": digits, "ratio_digits": ratio_digits, "note": note, "others": round(self.others_used, 2)})
        return ratio

    def format(self, *cells):
        return "".join(f"{cell:<{width}}" for cell, width in zip(cells, self.WIDTHS)) + cells[-1]

    def ratio(self, name, value, *arguments, **fields):
        """A last line; none where there is no value because a side was not measured."""
        if value is not None:
            self.ratios.append(Ratio(name, value, *arguments, **fields))

    def finish(self, json_file=None, markdown_file=None, facts=None):
        if self.ratios:
            print()
        for ratio in self.ratios:
            print(ratio.line())
        if json_file:
            with open(json_file, "w") as file:
                json.dump({"facts": facts or {}, "rows": self.rows, "ratios": [asdict(r) | {"met": r.met()} for r in self.ratios]}, file, indent=1)
        if markdown_file:
            with open(markdown_file, "w") as file:
                file.write(self.markdown(facts or {}))

    def markdown(self, facts):
        """The section of docs/BENCHMARKS.md that this run makes."""
        lines = [f"## {facts.get('date')} · {facts.get('processor')}", "", f"`{facts.get('command')}`; variant {facts.get('variant')}, {facts.get('rounds')} rounds, load at the start {facts.get('load', 0):.1f}; peer {facts.get('peer')}", "",
                 f"| What | Bora | {self.peer} | Ratio | |", "|---|---|---|---|---|"]
        for row in self.rows:
            ratio = f"{row['ratio']:.{row['ratio_digits']}f}" if row["ratio"] is not None else "-"
            lines.append(f"| {row['what']}{', ' if row['unit'] else ''}{row['unit']} | {spread(row['bora'], row['digits'])} | {spread(row['peer'], row['digits'])} | {ratio} | {row['note']} |")
        lines += ["", *(f"    {ratio.line()}" for ratio in self.ratios), ""]
        return "\n".join(lines)

#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Sets of numbers, texts, and what engine/grammar/number.h must say of them, by exact arithmetic (fractions).

    tools/make_number_goldens.py > tests/golden/grammar/numbers.txt

A line `S rule ...` begins a set, `T text member accepted live` asks. Rules: >=v >v <=v <v, *v a multiple, ~v no multiple,
!v,v,... none of, =v,v,... one of. member: the number is in the set. accepted: and the machine takes this spelling (number.h has
the rules of exponents). live: some accepted text begins with this one.
"""
import math
import random
import re
import sys
from fractions import Fraction

EXPONENTS = range(-400, 401)
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
PREFIX = re.compile(r"(-?)(?:(0|[1-9][0-9]*)(?:(\.)([0-9]*))?)?(?:([eE])([+-]?)([0-9]*))?")


def value_of(text):
    mantissa, _, exponent = text.lower().partition("e")
    return Fraction(mantissa) * Fraction(10) ** int(exponent or 0)


class Set:
    def __init__(self, rules):
        self.rules = rules
        self.low = self.high = self.multiple = self.members = None
        self.low_open = self.high_open = False
        self.avoid, self.excluded = [], set()
        for rule in rules:
            if rule.startswith((">", "<")):
                bound, is_open = value_of(rule[2:] if rule[1] == "=" else rule[1:]), rule[1] != "="
                low = rule[0] == ">"
                old, old_open = (self.low, self.low_open) if low else (self.high, self.high_open)
                tighter = old is None or (bound > old if low else bound < old) or (bound == old and is_open)
                if tighter and low:
                    self.low, self.low_open = bound, is_open
                elif tighter:
                    self.high, self.high_open = bound, is_open
            elif rule[0] == "*":
                m = value_of(rule[1:])
                self.multiple = m if self.multiple is None else lcm(self.multiple, m)
            elif rule[0] == "~":
                self.avoid.append(value_of(rule[1:]))
            elif rule[0] == "!":
                self.excluded |= {value_of(v) for v in rule[1:].split(",")}
            else:
                listed = {value_of(v) for v in rule[1:].split(",")}
                self.members = listed if self.members is None else self.members & listed

    def has(self, x):
        if self.low is not None and (x < self.low or (x == self.low and self.low_open)):
            return False
        if self.high is not None and (x > self.high or (x == self.high and self.high_open)):
            return False
        if self.multiple is not None and (x / self.multiple).denominator != 1:
            return False
        if any((x / m).denominator == 1 for m in self.avoid) or x in self.excluded:
            return False
        return self.members is None or x in self.members

    def has_between(self, first, end):
        """Some member between the two, `first`, which is nearer to zero, included."""
        negative = end < first
        if self.members is not None:
            return any((end < x <= first) if negative else (first <= x < end) for x in self.members if self.has(x))
        low, low_open, high, high_open = (end, True, first, False) if negative else (first, False, end, True)
        if self.low is not None and (self.low > low or (self.low == low and self.low_open)):
            low, low_open = self.low, self.low_open
        if self.high is not None and (self.high < high or (self.high == high and self.high_open)):
            high, high_open = self.high, self.high_open
        if low > high:
            return False
        if self.multiple is None:
            return low < high or (not low_open and not high_open and self.has(low))
        at = -((-low) // self.multiple)
        for step in range(len(self.excluded) + 300):
            x = (at + step) * self.multiple
            if x > high or (x == high and high_open):
                return False
            if self.has(x) and not (x == low and low_open):
                return True
        return False


def lcm(a, b):
    scale = a.denominator * b.denominator
    x, y = int(a * scale), int(b * scale)
    return Fraction(x * y // math.gcd(x, y), scale)


class Judge:
    def __init__(self, rules):
        self.set = Set(rules)
        self.everything = [self.all_of_sign(sign, False) for sign in (1, -1)]
        self.all_but_zero = [self.all_of_sign(sign, True) for sign in (1, -1)]
        self.known = {}

    def all_of_sign(self, sign, but_zero):
        s = self.set
        if s.multiple is not None or s.avoid or s.members is not None or any(x * sign > 0 or (x == 0 and not but_zero) for x in s.excluded):
            return False
        near, far, is_open = (s.low, s.high, s.low_open) if sign > 0 else (s.high, s.low, s.high_open)
        return far is None and (near is None or near * sign < 0 or (near == 0 and (but_zero or not is_open)))

    def remember(self, key, compute):
        if key not in self.known:
            self.known[key] = compute()
        return self.known[key]

    def reach(self, sign, integer, fraction, power):
        """[D, D+1) times a power of ten."""
        d = int(integer + fraction)
        unit = Fraction(10) ** (power - len(fraction)) * sign
        return self.set.has_between(d * unit, (d + 1) * unit)

    def plain(self, sign, integer, point, fraction):
        key = (sign, integer, point, fraction)
        return self.remember(key, lambda: any(
            self.reach(sign, integer, fraction, j) for j in ([0] if point or integer == "0" else range(0, 395 if self.wide() else 60))))

    def wide(self):
        return any(abs(int(e)) > 40 for rule in self.set.rules for e in re.findall(r"e([+-]?\d+)", rule))

    def scientific(self, sign, integer, fraction):
        if len(integer) != 1 or integer == "0":
            return False
        near = EXPONENTS if self.wide() else [-400, *range(-60, 61), 400]
        return self.remember(("s", sign, integer, fraction), lambda: any(self.reach(sign, integer, fraction, k) for k in near))

    def mantissa_live(self, sign, integer, point, fraction):
        return self.everything[sign < 0] or self.plain(sign, integer, point, fraction) or self.scientific(sign, integer, fraction)

    def mantissa_walks(self, sign, integer, point, fraction):
        steps = [(integer[:i], "", "") for i in range(1, len(integer) + 1)]
        steps += [(integer, ".", fraction[:i]) for i in range(len(fraction) + 1) if point]
        return all(self.mantissa_live(sign, *step) for step in steps)

    def exponents(self, sign, integer, fraction):
        d = int(integer + fraction) * sign
        return self.remember(("e", sign, integer, fraction), lambda: [
            k for k in EXPONENTS if self.set.has(d * Fraction(10) ** (k - len(fraction)))])

    def exponent_live(self, exponents, mark, digits):
        def spells(k):
            return (mark != "-" or k <= 0) and (mark != "+" or k >= 0) and any(
                str(abs(k)).zfill(n).startswith(digits) for n in range(max(len(digits), 1), 5) if n >= len(str(abs(k)))) and (
                    mark != "" or digits == "" or k >= 0)
        return len(digits) <= 4 and any(spells(k) for k in exponents)

    def live(self, text):
        found = PREFIX.fullmatch(text)
        if not found:
            return False
        sign, integer, point, fraction, e, mark, digits = found.groups(default="")
        sign = -1 if sign else 1
        if not integer:
            return not e and any(self.mantissa_live(s, d, "", "") for s in ([1, -1] if text == "" else [sign]) for d in "0123456789")
        if not self.mantissa_walks(sign, integer, point, fraction):
            return False
        if not e:
            return True
        if point and not fraction:
            return False
        if self.everything[sign < 0] or (self.all_but_zero[sign < 0] and int(integer + fraction) != 0):
            return True
        return self.exponent_live(self.exponents(sign, integer, fraction), mark, digits)

    def member(self, text):
        return bool(NUMBER.fullmatch(text)) and self.set.has(value_of(text))

    def accepted(self, text):
        return self.member(text) and self.live(text)


def plain_text(x):
    """A decimal fraction without exponent."""
    digits = 0
    while (x * 10 ** digits).denominator != 1:
        digits += 1
    whole = str(abs(int(x * 10 ** digits))).zfill(digits + 1)
    text = whole if digits == 0 else whole[:-digits] + "." + whole[-digits:]
    return ("-" if x < 0 else "") + text


def spelling(rng, x):
    text = plain_text(x)
    kind = rng.randrange(8)
    if kind < 3:
        return text
    if kind == 3:
        return text + ("" if "." in text else ".") + "0" * rng.randint(1, 4)
    sign, digits = ("-" if text[0] == "-" else ""), text.lstrip("-").replace(".", "")
    point = len(text.lstrip("-").split(".")[0])
    stripped = digits.lstrip("0") or "0"
    point -= len(digits) - len(stripped)
    stripped += "0" * rng.choice([0, 0, 0, 1, 2])
    at = 1 if kind < 6 else rng.randint(1, len(stripped))
    mantissa = stripped[:at] + ("." + stripped[at:] if stripped[at:] else "")
    exponent = point - at if stripped.strip("0") else rng.randint(-9, 9)
    mark = "-" if exponent < 0 else rng.choice(["", "+"])
    return f"{sign}{mantissa}{rng.choice('eE')}{mark}{'0' * rng.choice([0, 0, 1])}{abs(exponent)}"


ODD = ["", "-", "01", "1.", "+1", "--1", "1e", "1e+", "1e-", "1E05", ".5", "-0", "-0.0", "0", "0.0", "0e0", "0e99", "1.5.2", "1e1.5", "00", "-01", "1-1"]
FIXED = [
    [">=0"], [">0"], ["<=0"], ["<0"], ["*1"], ["*1", ">=0"], ["*1", ">=1"], ["*1", ">=1", "<=10"], ["*1", ">=0", "<=255"], ["*1", ">=1", "<=65535"],
    ["*1", ">=-2147483648", "<=2147483647"], ["*1", ">=-9223372036854775808", "<=9223372036854775807"], ["*1", ">=0", "<=18446744073709551615"],
    [">=0", "<=1"], [">0", "<1"], [">=-90", "<=90"], [">=-180", "<180"], [">=0", "<=100"], [">1.1", "<3.3"], [">=0.01", "<=0.02"], [">=1.1", "<=1.1"],
    ["*0.01"], ["*0.01", ">=0", "<=0.1"], ["*0.0001"], ["*1.5"], ["*2"], ["*7"], ["*7", ">=100", "<=1000"], ["*0.5", "*0.3"], ["*1e-8"], ["*1", "*1e-8"],
    ["*0.123456789", "*1"], ["*0.5", "*1"], ["~2", "*1"], ["~1"], ["~0.5", "*0.25"], ["~2", "~3", "*1", ">=6", "<=30"], ["!0"], ["!0", "*1"], ["!1,2,3", "*1", ">=1", "<=5"],
    ["=1,2,3"], ["=0"], ["=-0.0"], ["=1.0,2.50,-3e2"], ["=0.1,1e300,-7"], ["=1e-7"], ["=1e400"], ["=12345678910111213141511"], ["=12,120,1200"], ["=9007199254740993"],
    [">=18446744073709551600"], ["<-18446744073709551600"], ["<=972783798187987123879878123.18878137"], [">=1e300"], ["<=1e-300", ">0"], ["<=1e308"], ["*1", "<=1e308", ">=-1e308"],
    ["*1e20"], ["*12345678901234567890123"], ["*12345678901234567890123456789012345678901", ">=0"], [">=0", "<=1e40", "*1"], [">=1e-40", "<=1"], [">=5", "<=5"], [">5", "<6", "!5.5"],
    ["*3", "~6", ">=0", "<=100"], ["*10", ">=1000", "<=1000000"], ["*1", ">99", "<101"], ["*1", ">=1000"], [">=1000"], [">=12.5"], ["<=12.5"], ["*0.25", ">=-3", "<7.1"],
    ["!0,1,2,3,4,5,6,7,8,9", "*1", ">=0"], ["!0,1,2,3,4,5,6,7,8,9", "*1", ">=0", "<=120"], [">=99999", "*1"], ["<=0", ">=0"], ["*1", "<=-1"],
]


def random_value(rng):
    digits = rng.choice([1, 1, 2, 2, 3, 5, 9, 19, 37])
    x = Fraction(rng.randrange(10 ** digits), 10 ** rng.choice([0, 0, 0, 1, 2, 3, digits]))
    return x if rng.random() < 0.7 else -x


def random_rules(rng):
    rules = []
    if rng.random() < 0.12:
        return ["=" + ",".join(plain_text(random_value(rng)) for _ in range(rng.randint(1, 6)))]
    if rng.random() < 0.5:
        rules.append("*" + rng.choice(["1", "1", "1", "2", "5", "7", "10", "0.1", "0.01", "0.25", "2.5", "12", "300", "0.007"]))
    low = random_value(rng)
    high = low + abs(random_value(rng)) * rng.choice([1, 1, 10, Fraction(1, 10)])
    if rng.random() < 0.7:
        rules.append(rng.choice([">=", ">"]) + plain_text(low))
    if rng.random() < 0.6:
        rules.append(rng.choice(["<=", "<"]) + plain_text(high))
    if rng.random() < 0.15:
        rules.append("~" + rng.choice(["2", "3", "0.5", "10", "20"]))
    if rng.random() < 0.25:
        rules.append("!" + ",".join(plain_text(rng.choice([low, high, low + 1, random_value(rng)])) for _ in range(rng.randint(1, 7))))
    return rules or ["*1"]


def near(rng, judge):
    s = judge.set
    at = [x for x in (s.low, s.high, Fraction(0), Fraction(1)) if x is not None] + sorted(s.members or []) + sorted(s.excluded)
    x = rng.choice(at)
    step = s.multiple if s.multiple is not None and rng.random() < 0.8 else Fraction(1, 10 ** rng.choice([0, 0, 1, 2, 8]))
    if s.multiple is not None and rng.random() < 0.8:
        x = x // s.multiple * s.multiple
    if rng.random() < 0.3 and s.low is not None and s.high is not None:
        x = s.low + (s.high - s.low) * Fraction(rng.randrange(1001), 1000)
        if s.multiple is not None:
            x = x // s.multiple * s.multiple
    if rng.random() < 0.2:
        x = random_value(rng)
    return x + step * rng.choice([0, 0, 1, -1, 2, rng.randrange(100)])


def texts_of(rng, judge, count):
    texts = list(rng.sample(ODD, 6))
    while len(texts) < count:
        text = spelling(rng, near(rng, judge))
        if len(text) > 120 and rng.random() < 0.8:
            continue
        texts.append(text)
        if rng.random() < 0.5 and len(text) > 1:
            texts.append(text[:rng.randrange(1, len(text))])
        if rng.random() < 0.15:
            texts.append(text + rng.choice("0123456789.e-"))
    return sorted(set(texts))


def main():
    seed, random_sets, each = (int(a) for a in (sys.argv[1:] + ["1", "220", "34"][len(sys.argv) - 1:]))
    rng = random.Random(seed)
    for rules in FIXED + [random_rules(rng) for _ in range(random_sets)]:
        judge = Judge(rules)
        print("S", *rules)
        for text in texts_of(rng, judge, each):
            print("T", f'"{text}"', int(judge.member(text)), int(judge.accepted(text)), int(judge.live(text)))


if __name__ == "__main__":
    main()

# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""How much of its limit a key gets that always wants more: the measure of accuracy.py. All times are milliseconds, as in the ledger.

The use of an instant t is what counted inside the window that ends there, (t - window, t]. It is averaged over all instants of a span, so over all
windows that end in it; each window counts whole. With L the limit and all of it in shares of L:

    under-use = 1 - mean use / L                   nothing is left out
    held      = mean of what requests that ran were admitted with and had not been charged: it was reserved, others could not have it
    too small = mean of (the smallest need of the requests that stood and waited - 1): no more than so much room is of no use to anybody
    lost      = 1 - (mean use + mean held) / (L - too small): what the limiter, the gateways and the clients' way to them lose

A need is what a request must be sure of to pass: max_tokens, or one token where it gave none, and for totals its prompt.
    way       = mean of the milliseconds from when a request was sent for the last time until it was let in

Where the limit is of requests that run at once, use is what runs, and nothing is held or too small. Each place is free while its next user is on the way, which
would be most of what is lost: there, `lost` is what neither runs nor is on the way to it.

`wanted` is the share of the span in which at least one request stood and waited: of a key that did not always want more nothing is shown.

All of these hold what a busy machine costs: an answer that takes 20 ms costs a limit of a second 2 %. What does not is a denial for which there was room
all the time from when it was asked for until it came (`wrongly_denied`): of those there may be none, with the window that the limiter promises.
"""
import bisect
import collections
import itertools

MINUTE_MS, SECOND_MS = 60000, 1000
BAR = 0.02
LEDGER_MS = 1  # its times are rounded down to whole milliseconds: what it says of one happened somewhere within

# begin: admitted, end: charged (the same for what is charged at once); held: the room it had from begin to end
Charge = collections.namedtuple("Charge", "begin end amount held")
# begin: wanted; sent: for the last time; end: let in, or given up
Wait = collections.namedtuple("Wait", "begin sent end need")
Denial = collections.namedtuple("Denial", "sent answered need")
Use = collections.namedtuple("Use", "under_use held too_small lost wanted way")


def overlap(begin, end, span):
    return max(0, min(end, span[1]) - max(begin, span[0]))


def smallest_needs(waits, span):
    """(ms in which somebody waited, sum over time of the smallest need - 1)."""
    edges = []
    for wait in waits:
        begin, end = max(wait.begin, span[0]), min(wait.end, span[1])
        if begin < end:
            edges += [(begin, 1, wait.need), (end, 0, wait.need)]
    standing, waited, needed, before = collections.Counter(), 0, 0, None
    for at, begins, need in sorted(edges):
        if standing:
            waited += at - before
            needed += (min(standing) - 1) * (at - before)
        standing[need] += 1 if begins else -1
        if not standing[need]:
            del standing[need]
        before = at
    return waited, needed


def use_of(limit, window_ms, charges, waits, span):
    """What came of a key's limit in a span (begin, end)."""
    length = span[1] - span[0]
    used = sum(c.amount * overlap(c.end, c.end + window_ms, span) for c in charges) / length
    held = sum(c.held * overlap(c.begin, c.end, span) for c in charges) / length
    waited, needed = smallest_needs(waits, span)
    too_small = needed / length
    ways = [w.end - w.sent for w in waits if span[0] <= w.end < span[1] and w.end > w.sent] or [0]
    return Use(1 - used / limit, held / limit, too_small / limit, 1 - (used + held) / (limit - too_small), waited / length, sum(ways) / len(ways))


def most_in_a_window(charges, window_ms):
    """The largest sum of amounts in any window, of charges whose request began and was charged inside of it."""
    best, window = 0, collections.deque()
    for charge in sorted(charges, key=lambda c: c.end):
        window.append(charge)
        while window[0].end <= charge.end - window_ms:
            window.popleft()
        best = max(best, sum(c.amount for c in window if c.begin > charge.end - window_ms))
    return best


def taken(limit, spells, span):
    """The mean share of `limit` that spells (begin, end) of one each take of it; what is above it counts no more."""
    changes = sorted(change for begin, end in spells if begin < span[1] and end > span[0] for change in ((max(begin, span[0]), 1), (min(end, span[1]), -1)))
    total, count, before = 0, 0, span[0]
    for at, change in changes:
        total += min(count, limit) * (at - before)
        count, before = count + change, at
    return total / limit / (span[1] - span[0])


def most_at_once(charges):
    """The most that was held at any time; within a millisecond of the ledger those that end go first."""
    changes = sorted([(c.end, -c.held) for c in charges] + [(c.begin, c.held) for c in charges])
    return max(itertools.accumulate((change for _, change in changes)), default=0)


def room_begins(limit, window_ms, charges, need):
    """(times, since): from times[i] on there has been room for `need` since since[i], or there is none, since[i] is None. What is held has no room; and nobody
    knows in which order the events of a millisecond came, so what takes room counts from its beginning on and what makes room from its end."""
    changes = collections.Counter()
    for charge in charges:
        either = max(charge.held, charge.amount)
        changes[charge.begin] += charge.held
        changes[charge.end] += either - charge.held
        changes[charge.end + LEDGER_MS] += charge.amount - either
        changes[charge.end + LEDGER_MS + window_ms] -= charge.amount
    times, since, taken = [float("-inf")], [float("-inf")], 0
    for at, change in sorted(changes.items()):
        taken += change
        times.append(at)
        since.append(None if limit - taken < need else at if since[-1] is None else since[-1])
    return times, since


def wrongly_denied(limit, window_ms, charges, denials):
    """[(denial, ms)] of those for which there was room all the time from when they were sent until they were answered: for how long there had been when they were sent."""
    wrong, begins = [], {}
    for denial in denials:
        if denial.need not in begins:
            begins[denial.need] = room_begins(limit, window_ms, charges, denial.need)
        times, since = begins[denial.need]
        first, last = (bisect.bisect_right(times, at) - 1 for at in (denial.sent, denial.answered))
        if None not in since[first:last + 1]:
            wrong.append((denial, denial.sent - since[first]))
    return wrong


def table(rows):
    """rows: {(span's name, kind): [Use, ...]}, as lines of Markdown."""
    lines = ["| Span | Limit | Keys | Under-use: median | worst | above 2 % | Held | Too small | Lost: median | worst | above 2 % | Wanted, least | On the way, ms |", "|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for (span, kind), uses in rows.items():
        cells = [span, kind, str(len(uses))]
        for values in (sorted(u.under_use for u in uses), sorted(u.lost for u in uses)):
            cells += [f"{values[len(values) // 2]:.2%}", f"{values[-1]:.2%}", f"{sum(v > BAR for v in values) / len(values):.0%}"]
        cells[6:6] = [f"{sum(u.held for u in uses) / len(uses):.2%}", f"{sum(u.too_small for u in uses) / len(uses):.2%}"]
        lines.append("| " + " | ".join([*cells, f"{min(u.wanted for u in uses):.1%}", f"{sorted(u.way for u in uses)[len(uses) // 2]:.0f}"]) + " |")
    return lines

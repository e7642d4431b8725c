# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The short form of accuracy.py, through a gateway's death and Redis' restarts: no request and no token over, none left lying while somebody wants it, and a
ledger that is right to the token. And that its measure finds what it looks for."""
import contextlib
import http.client
import itertools
import json
import multiprocessing

import pytest

import accuracy
from conftest import PACE, another_gateway
from under_use import BAR, MINUTE_MS, SECOND_MS, Charge, Denial, Wait, most_at_once, most_in_a_window, taken, use_of, wrongly_denied

FILL_S, EVENTS_S, SECONDS = 22, (5, 9, 14), 84  # what was charged while things happened leaves the windows in the last third


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    house = accuracy.TinyHouse(tmp_path_factory.mktemp("tiny"))
    yield house
    house.down()


@pytest.mark.timeout(300 * PACE)
def test_limits_are_exact_and_used_up_and_the_ledger_is_right(tiny):
    said, wrong, rows = accuracy.run(tiny, 20, SECONDS, FILL_S, EVENTS_S)
    print("\n".join(said))
    assert not wrong, wrong[:10]
    assert {name for _, name in rows} == set(accuracy.SORTS) and all(rows.values()), "a sort of limit is missing"
    for (span, name), uses in rows.items():
        if name not in accuracy.OF_MACHINES:  # `wrong` has what their limiter would do wrong
            assert sorted(u.lost for u in uses)[len(uses) // 2] <= accuracy.BARS.get(name, BAR) * PACE, (span, name, uses)
            assert min(u.wanted for u in uses) > 0.9, "the clients did not want enough for this to show anything"


def ask_one(connection, key, stream):
    """The status of a request for a token, once all of its answer is there."""
    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "w"}], "stream": stream, "max_tokens": 1})
    connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def ask_for_ever(port, key):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while True:
        ask_one(connection, key, False)


@contextlib.contextmanager
def others_asking(ports, key):
    processes = [multiprocessing.Process(target=ask_for_ever, args=(port, key), daemon=True) for port in ports]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.kill()
        process.join()


def test_who_has_heard_the_end_of_an_answer_finds_its_room_at_every_gateway(tiny):
    """Behind a balancer: one request at a time, in turns over two gateways, which have enough to settle for others to gather it."""
    key, _ = tiny.new_key(limits={"concurrent_streams": 1})
    busy, _ = tiny.new_key(limits={"requests_per_minute": 1_000_000_000})
    with another_gateway(tiny) as other, others_asking([tiny.ports["http"], other.http] * 2, busy):
        connections = itertools.cycle([http.client.HTTPConnection("127.0.0.1", port) for port in (tiny.ports["http"], other.http)])
        statuses = [ask_one(next(connections), key, i % 4 < 2) for i in range(400)]
    assert statuses.count(200) == 400, (statuses.count(429), statuses)


def charges_each(period_ms, count, amount=1, begin=0):
    return [Charge(begin + i * period_ms, begin + i * period_ms, amount, 0) for i in range(count)]


def test_a_limit_that_is_used_up_is_not_under_used():
    use = use_of(60, MINUTE_MS, charges_each(1000, 300), [Wait(0, 0, 300_000, 1)], (MINUTE_MS, 4 * MINUTE_MS))
    assert (use.under_use, use.lost, use.wanted) == (0, 0, 1)


def test_a_window_that_is_too_long_shows():
    """60 at once each 62 s."""
    charges = [c for i in range(6) for c in charges_each(0, 60, begin=i * 62_000)]
    use = use_of(60, MINUTE_MS, charges, [], (62_000, 5 * 62_000))
    assert use.lost == pytest.approx(2 / 62) and use.wanted == 0


def test_what_is_held_and_what_is_too_small_is_not_lost():
    """Of 100 tokens 40 are charged and 40 held, and whoever waits needs 21."""
    charges = [Charge(0, 0, 40, 0), Charge(0, 50_000, 40, 40)]
    use = use_of(100, MINUTE_MS, charges, [Wait(0, 0, 50_000, 30), Wait(0, 0, 50_000, 21)], (0, 50_000))
    assert (use.under_use, use.held, use.too_small) == pytest.approx((0.6, 0.4, 0.2)) and use.lost == pytest.approx(0)
    assert use_of(100, MINUTE_MS, charges, [Wait(0, 0, 50_000, 1)], (0, 50_000)).lost == pytest.approx(0.2)


def test_a_denial_beside_room_is_found():
    charges = charges_each(0, 10)
    assert wrongly_denied(10, MINUTE_MS, charges, [Denial(50_000, 59_999, 1), Denial(59_000, 60_010, 1), Denial(61_000, 61_005, 11)]) == []
    denial = Denial(60_300, 60_310, 10)
    assert wrongly_denied(10, MINUTE_MS, charges, [denial]) == [(denial, 299)]
    running = [Charge(60_305, 60_900, 0, 5)]
    assert wrongly_denied(10, MINUTE_MS, charges + running, [denial, denial._replace(need=5)]) == [(denial._replace(need=5), 299)]


def test_what_came_in_one_millisecond_of_the_ledger_came_in_any_order():
    """One leaves the window and another one comes in: in between, or before, there was room for two, for one or for none."""
    denial = Denial(1000.4, 1001.3, 1)
    charges = [Charge(0, 0, 1, 0), Charge(1, 1, 1, 0)]
    assert wrongly_denied(2, SECOND_MS, charges, [denial._replace(sent=1001, answered=1001.9)]) == [(Denial(1001, 1001.9, 1), 0)]
    assert wrongly_denied(2, SECOND_MS, charges + [Charge(1001, 1001, 1, 0)], [denial._replace(answered=1001.9)]) == []
    held = [Charge(0, 1500, 1, 2)]  # two tokens were held until one was charged
    assert wrongly_denied(2, SECOND_MS, held, [Denial(1500.2, 1500.9, 1)]) == []
    assert wrongly_denied(2, SECOND_MS, held, [Denial(1501, 1502, 1)]) == [(Denial(1501, 1502, 1), 0)]


def test_what_runs_at_once_is_measured():
    spells = [(0, 40), (10, 30), (10, 20), (90, 200)]
    assert taken(2, spells, (0, 100)) == pytest.approx((40 + 20 + 10) / 2 / 100)
    assert taken(1, spells, (0, 100)) == pytest.approx(50 / 100) and taken(2, spells, (20, 30)) == 1 and taken(1, [], (0, 10)) == 0
    charges = [Charge(begin, end, 0, 1) for begin, end in spells]
    assert most_at_once(charges) == 3 and most_at_once(charges + [Charge(20, 30, 0, 1)]) == 3 and most_at_once(charges + [Charge(19, 30, 0, 1)]) == 4


def test_one_too_many_in_a_window_is_found():
    assert most_in_a_window(charges_each(1000, 200), MINUTE_MS) == 60
    assert most_in_a_window(charges_each(999, 200), MINUTE_MS) == 61
    assert most_in_a_window([Charge(0, 30_000, 5, 0), Charge(29_001, 89_000, 7, 0)], MINUTE_MS) == 7

# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The short form of accuracy.py: no request and no token over, and a ledger that is right to the token, through a gateway's death and Redis' restarts."""
import pytest

import accuracy
from conftest import PACE


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    house = accuracy.tiny_house(tmp_path_factory.mktemp("tiny"))
    yield house
    house.down()


@pytest.mark.timeout(300 * PACE)
def test_limits_and_ledger_are_exact(tiny):
    said, wrong = accuracy.run(tiny, count=30, seconds=40, clients=16, scale=0.5)
    print("\n".join(said))
    assert not wrong, wrong[:10]

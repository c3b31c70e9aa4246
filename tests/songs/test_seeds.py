"""Seeds that nobody gave."""

from __future__ import annotations

import json

from tonewheel.gateway.orders import variations
from tonewheel.jobs import SongRequest
from tonewheel.seeds import draw
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import plan_request

LARGEST_EXACT = 9007199254740991  # Number.MAX_SAFE_INTEGER


def test_drawn_seeds_are_whole_in_javascript() -> None:
    drawn = [draw() for _ in range(2000)]
    assert len(set(drawn)) == len(drawn)
    assert 2**50 < max(drawn) <= LARGEST_EXACT
    for seed in drawn[:100]:
        assert int(float(seed)) == json.loads(json.dumps(float(seed))) == seed


def test_who_gives_no_seed_is_told_one_that_can_be_given_again() -> None:
    plan = make_plan(plan_request(narrative="A paper boat", duration_s=10))
    assert 0 <= plan.seed <= LARGEST_EXACT
    again = make_plan(plan_request(narrative="A paper boat", duration_s=10, seed=plan.seed))
    assert again == plan


def test_variations_of_any_seed_have_seeds_that_can_be_told() -> None:
    for seed in (0, 7, 2**63 - 1):
        first, *others = variations(SongRequest(narrative="x", seed=seed), 8)
        assert first.seed == seed
        assert all(o.seed is not None and 0 <= o.seed <= LARGEST_EXACT for o in others)
        assert len({o.seed for o in others}) == 7

"""What a report says of other thresholds, against runs that really have them."""

from __future__ import annotations

import pytest

from fastcache_core.replay import replay

from .graphs import graph, refined, sample, toy_graph


@pytest.mark.parametrize("family", ["flux", "lumina", "wan"])
@pytest.mark.parametrize("settings", [{"block_threshold": 0.2}, {"block_threshold": 0.0, "token_threshold": 0.02}])
def test_at_its_own_thresholds_a_replay_is_the_run(server, family, settings):
    _, report = sample(server, toy_graph(family, settings))
    assert [[round(f, 4) for f in row] for row in replay(report).computed] == report["computed"]


@pytest.mark.parametrize("rule", ["significance", "change"])
def test_the_work_at_other_thresholds_is_estimated_to_a_tenth(server, rule):
    """From one run of the demo model at 0.1, for thresholds from half to three times of that."""
    _, report = sample(server, refined(graph(fastcache={}), {"rule": rule}))
    for threshold in (0.05, 0.1, 0.15, 0.2, 0.3):
        _, there = sample(server, refined(graph(fastcache={}), {"rule": rule, "threshold": threshold}))
        estimate = replay(report, threshold).computed_fraction
        print(rule, threshold, round(estimate, 3), there["computed_fraction"])
        assert estimate == pytest.approx(there["computed_fraction"], abs=0.1)

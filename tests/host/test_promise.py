"""The promise of the rule significance, on the trained model: errors keep within it in 1 - alpha of the cases."""

from __future__ import annotations

import numpy as np
import pytest

from demo.graphs import PROMPTS, demo_graph

from .graphs import DEFAULTS, refined, sample

RUNS = 70  # for each alpha


def reports(server, alpha, level):
    """One report a run: prompts and seeds differ, one image each."""
    for seed in range(RUNS):
        graph = demo_graph(1000 + seed, fastcache=DEFAULTS, prompts=(PROMPTS[seed % len(PROMPTS)],))
        yield sample(server, refined(graph, {"alpha": alpha, "level": level}))[1]


@pytest.mark.parametrize(("alpha", "level"), [(0.5, "auto"), (0.2, "block"), (0.1, "stack")])
def test_recomputed_blocks_were_off_by_no_more_than_promised(server, alpha, level):
    held, computed = [], []
    for report in reports(server, alpha, level):
        expected = np.array(report["error_expected"], dtype=float)
        realised = np.array(report["error_realised"], dtype=float)
        both = ~np.isnan(expected) & ~np.isnan(realised)
        held.append(realised[both] <= expected[both])
        computed.append(report["computed_fraction"])
        assert both.any(axis=1).sum() >= 5
    assert np.concatenate(held).mean() >= 1 - alpha
    assert np.mean(computed) < 0.8, "a promise that is kept by never predicting is worth nothing"

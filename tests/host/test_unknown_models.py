"""Models that no adapter knows: their blocks are made out where that is possible; nothing happens where it is not."""

from __future__ import annotations

import numpy as np

from .graphs import sample, toy_graph


def test_an_unsupported_model_runs_unpatched_and_says_so(server):
    reference, _ = sample(server, toy_graph("unet"))
    cached, report = sample(server, toy_graph("unet", {}))
    assert np.array_equal(cached, reference)
    assert report["run"]["family"] is None and report["computed"] == []
    sentence = (
        "UNetModel is not supported: FastCache neither knows it nor finds blocks of a transformer that hold most of "
        "its weights. It runs without FastCache."
    )
    assert report["notes"] == [sentence]
    assert sentence in server.log()

"""One path from noise to picture, however a model tells it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache_core.path import AlongSigma, NoisePath, remembered

FLOW, ADDED = NoisePath(lambda sigma: (1 - sigma, sigma)), NoisePath(lambda sigma: (1.0, sigma))


@given(st.floats(0.001, 0.999))
def test_the_same_noise_is_at_the_same_place(t):
    assert ADDED.fraction(t / (1 - t)) == pytest.approx(FLOW.fraction(t))
    assert ADDED.place(t / (1 - t)) == pytest.approx(FLOW.place(t), abs=1e-9)
    assert FLOW.whole(t) == 1 and ADDED.whole(t / (1 - t)) == pytest.approx(1 / (1 - t))


@given(st.floats(0, 1), st.floats(0, 1))
def test_less_noise_is_further_along_and_the_ends_are_finite(a, b):
    assert (FLOW.place(a) <= FLOW.place(b)) == (a <= b) or a == pytest.approx(b, abs=1e-12)
    assert abs(FLOW.place(1)) < 5 and FLOW.place(0) == pytest.approx(-FLOW.place(1))


def test_where_nothing_is_known_sigma_is_the_place():
    assert AlongSigma().place(7.5) == 7.5 and AlongSigma().fraction(7.5) == 7.5 and AlongSigma().whole(7.5) == 1


def test_a_flow_is_known_by_its_scales():
    assert FLOW.is_flow and not ADDED.is_flow


def test_a_model_is_asked_once_for_every_sigma():
    asked = []
    path = remembered(lambda sigma: asked.append(sigma) or (1.0, sigma))
    assert path.fraction(3.0) == path.fraction(3.0) == 0.75 and asked == [3.0]

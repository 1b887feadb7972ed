"""A hundred random graphs: none fails, every report is well-formed, and in the end nothing is left behind."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.graphs import Graph, node
from fastcache_core.config import CONTEXTS, LEVELS, PREDICTORS, RULES, BlockCacheConfig
from fastcache_core.masks import what_is_missing

from .graphs import PROMPTS, Report, afresh, graph, sample

SAMPLERS = (
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "dpmpp_2m",
    "dpmpp_sde",
    "lcm",
    "uni_pc",
    "res_multistep",
    "ddim",
)
DEFAULT_RULES = {"rule": "significance", "level": "auto", "warmup_evaluations": 3}

WITHOUT_PROFILE = [rule for rule in RULES if what_is_missing(BlockCacheConfig(rule=rule), None) is None]


def is_valid(drawn: dict[str, Any]) -> bool:
    try:
        BlockCacheConfig(**drawn)
    except ValueError:
        return False
    return True


@st.composite
def block_caches(draw: st.DrawFn) -> dict[str, Any]:
    drawn = {
        "rule": draw(st.sampled_from(WITHOUT_PROFILE)),
        "threshold": draw(st.sampled_from([10.0, 1.0, 0.3, 0.1, 0.0])),
        "alpha": draw(st.sampled_from([0.5, 0.1])),
        "interval": draw(st.integers(1, 4)),
        "predictor": draw(st.sampled_from(PREDICTORS)),
        "level": draw(st.sampled_from(LEVELS)),
        "block_thresholds": draw(st.sampled_from(["", "", "0-3: 0.05, 9: 0", "single 0-40: 1, double 1: 0"])),
        "warmup_evaluations": draw(st.integers(1, 4)),
    }
    return drawn if is_valid(drawn) else drawn | {"level": "stack"}


@st.composite
def token_selectors(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.sampled_from([0.0, 0.2]))
    return {
        "threshold": draw(st.sampled_from([0.0, 0.01, 0.1])),
        "min_active": low,
        "max_active": draw(st.sampled_from([1.0, low, 0.5])),
        "refresh_interval": draw(st.integers(1, 6)),
        "context": draw(st.sampled_from(CONTEXTS)),
    }


@st.composite
def widgets(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(st.sampled_from([0.0, 0.0, 0.2, 0.5]))
    return {
        "block_threshold": draw(st.sampled_from([10.0, 0.3, 0.1, 0.05, 1e-6, 0.0])),
        "token_threshold": draw(st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.1, 10.0])),
        "start_percent": start,
        "end_percent": draw(st.sampled_from([1.0, 1.0, 0.8, start + 0.1])),
        "max_consecutive_skips": draw(st.integers(1, 5)),
        "cache_device": draw(st.sampled_from(["main", "offload"])),
    }


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """The demo's graph with random settings, canvas and sampler; ComfyUI may have to split conditionings at times."""
    drawn = graph(
        seed=draw(st.integers(0, 1000)),
        fastcache=draw(widgets()),
        prompts=PROMPTS[: draw(st.integers(1, 3))],
        steps=draw(st.sampled_from([*range(8, 15), 1, 2, 5])),
        cfg=draw(st.sampled_from([1.0, 3.0])),
        sampler_name=draw(st.sampled_from(SAMPLERS)),
        scheduler=draw(st.sampled_from(["simple", "normal", "beta"])),
        denoise=draw(st.sampled_from([1.0, 1.0, 0.7, 0.4])),
    )
    drawn["canvas"]["inputs"] |= {name: draw(st.sampled_from([16, 32, 40])) for name in ("width", "height")}
    drawn["split"] = node("FastCacheToySplit", model=["shift", 0], after=draw(st.sampled_from([0, 4, 100])))
    drawn["fastcache"]["inputs"]["model"] = ["split", 0]
    for socket, kind, values in (
        ("block_cache", "FastCacheBlockCache", block_caches()),
        ("token_selector", "FastCacheTokenSelector", token_selectors()),
    ):
        if draw(st.booleans()):
            drawn[socket] = node(kind, **draw(values))
            drawn["fastcache"]["inputs"][socket] = [socket, 0]
    return drawn


def settings_of(drawn: Graph) -> dict[str, Any]:
    """The settings that count: those of connected nodes take the place of FastCache's widgets."""
    refined = drawn.get("block_cache", node(""))["inputs"]
    return DEFAULT_RULES | refined | drawn["fastcache"]["inputs"]


def assert_report_is_well_formed(report: Report, widgets: dict[str, Any]) -> None:
    run, computed = report["run"], np.array(report["computed"])
    if not report["computed"]:
        assert report["computed_fraction"] == 1 and report["notes"][0].startswith("Switched off")
        return
    evaluations = run["sampler_evaluations"]
    assert computed.shape == (evaluations, 16)
    for name in ("change", "error_expected", "error_realised", "reasons"):
        assert [len(row) for row in report[name]] == [16] * evaluations, name
    assert all(0 <= reason < len(report["reason_texts"]) for row in report["reasons"] for reason in row)
    assert_fractions_agree(report, computed)
    assert_skips_are_allowed(computed, run["sigmas"], widgets)
    assert_token_maps_have_their_size(report["tokens"], run, evaluations)


def assert_fractions_agree(report: Report, computed: np.ndarray) -> None:
    assert ((0 <= computed) & (computed <= 1)).all() and 0 < report["computed_fraction"] <= 1
    assert (report["computed_fraction"] == 1) == (computed == 1).all()
    # Text tokens are queries as well, which the matrix does not show.
    assert abs(computed.mean() - report["computed_fraction"]) < (0.001 if np.isin(computed, (0, 1)).all() else 0.2)
    told = any("othing was skipped" in note for note in report["notes"])
    assert told == (report["computed_fraction"] == 1)


def assert_skips_are_allowed(computed: np.ndarray, sigmas: list[float], widgets: dict[str, Any]) -> None:
    skipped = (computed == 0).all(axis=1)
    assert (computed[: widgets["warmup_evaluations"]] == 1).all() and (computed[-1] == 1).all()
    longest = max((len(run) for run in "".join("s" if row else " " for row in skipped).split()), default=0)
    interval = widgets["rule"] == "interval"
    assert longest <= (widgets["interval"] - 1 if interval else widgets["max_consecutive_skips"])
    touched = (computed < 1).any(axis=1)
    low, high = 1 - widgets["end_percent"], 1 - widgets["start_percent"]
    assert all(low - 0.01 <= sigma <= high + 0.01 for sigma in np.array(sigmas)[touched])


def assert_token_maps_have_their_size(tokens: dict[str, Any], run: dict[str, Any], evaluations: int) -> None:
    assert np.prod(tokens["grid"]) == run["tokens"]
    packed = -(-run["tokens"] * tokens["samples"] // 8)
    assert [len(base64.b64decode(bits)) for bits in tokens["computed"]] == [packed] * evaluations


def test_random_graphs_never_fail_and_leave_nothing_behind(server):
    reference, _ = sample(server, graph(seed=5))
    fractions = []

    @settings(max_examples=100, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(graphs())
    def try_one(drawn: Graph) -> None:
        latents, report = sample(server, drawn)
        assert np.isfinite(latents).all()
        assert_report_is_well_formed(report, settings_of(drawn))
        fractions.append(report["computed_fraction"])

    try_one()
    assert sum(fraction < 1 for fraction in fractions) > 20
    after, _ = sample(server, afresh(graph(seed=5)))
    assert np.array_equal(after, reference)

"""What the corrector is worth on the trained model, and that samplers it is not for are left as they are.

Prints what it measures: pytest -s.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from demo.graphs import PROMPTS, Graph, node

from .graphs import bypassed, graph, quality, refined, sample


def with_corrector(graph: Graph, corrector: bool, threshold: float) -> Graph:
    return refined(graph, {"corrector": corrector, "threshold": threshold})


def measured(server, corrector: bool, threshold: float, **options) -> tuple[float, float, int]:
    """(dB, work, corrections)."""
    plain = graph(fastcache={}, **options)
    reference, _ = sample(server, bypassed(plain))
    latents, report = sample(server, with_corrector(plain, corrector, threshold))
    found = quality(latents, reference), report["computed_fraction"], report["run"]["corrections"]
    print(f"\n{options} corrector {corrector}, threshold {threshold}: {found[0]:.1f} dB, {found[1]:.1%}, {found[2]}")
    return found


@pytest.mark.parametrize(("sampler", "ahead"), [("euler", 2), ("heun", 2), ("ipndm", 0.5)])
def test_the_same_evaluations_come_closer_once_they_are_corrected(server, sampler, ahead):
    plain = graph(fastcache={}, sampler_name=sampler, prompts=PROMPTS)
    reference, _ = sample(server, bypassed(plain))
    found = {}
    for corrector in (True, False):
        latents, report = sample(server, refined(plain, {"rule": "interval", "interval": 2, "corrector": corrector}))
        found[corrector] = quality(latents, reference), report["computed_fraction"], report["run"]["corrections"]
    print(f"\n{sampler}: {found}")
    (corrected, work, corrections), (without, rival, none) = found[True], found[False]
    assert work <= rival + 0.06 and corrected >= without + ahead  # the last two are computed, and not the last alone
    assert corrections > 0 and none == 0


def test_dpmpp_2m_which_extrapolates_itself_is_not_worse_with_no_more_work(server):
    """On 16 pictures, as which evaluations happen to be computed is worth a decibel or two either way."""
    options = [{"sampler_name": "dpmpp_2m", "seed": seed, "prompts": PROMPTS} for seed in (7, 8)]
    corrected, work, corrections = np.mean([measured(server, True, 0.1, **each) for each in options], axis=0)
    plain, rival, _ = np.mean([measured(server, False, 0.07, **each) for each in options], axis=0)
    assert work <= rival and corrected >= plain - 0.5
    assert corrections > 0


@pytest.mark.parametrize(
    ("sampler", "threshold", "ahead"),
    [("dpmpp_sde", 0.1, 10), ("er_sde", 0.14, 10), ("dpm_2", 0.1, 5), ("ipndm", 0.14, 4)],
)
def test_samplers_of_every_kind_are_corrected_and_ahead_of_plain_steps(server, sampler, threshold, ahead):
    """In the mean; with as many plain steps as cost at least the same work."""
    options = {"sampler_name": sampler, "prompts": PROMPTS}
    corrected, work, corrections = measured(server, True, threshold, **options)
    reference, _ = sample(server, graph(**options))
    steps, _ = sample(server, graph(steps=math.ceil(20 * work), **options))
    print(f"{sampler}: {quality(steps, reference):.1f} dB with {math.ceil(20 * work)} plain steps")
    assert work <= 0.7 and corrections > 0
    assert corrected >= quality(steps, reference) + ahead


@pytest.mark.parametrize("sampler", ["euler_cfg_pp", "dpm_adaptive"])
def test_samplers_that_follow_something_else_are_left_as_they_are(server, sampler):
    """CFG++ follows the unguided image as well; adaptive samplers choose their steps by what they see."""
    plain = graph(fastcache={}, sampler_name=sampler)
    (with_it, report), (without, other) = (
        sample(server, with_corrector(plain, corrector, threshold=0.4)) for corrector in (True, False)
    )
    assert np.array_equal(with_it, without)
    assert report["computed"] == other["computed"] and report["computed_fraction"] < 1
    assert report["run"]["corrections"] == 0
    assert any(note.startswith("Predictions are not corrected afterwards") for note in report["notes"])


def test_the_last_two_are_computed_and_the_report_says_why(server):
    _, report = sample(server, with_corrector(graph(fastcache={}), True, threshold=10.0))
    forced = [None if why is None else report["reason_texts"][why] for why in report["forced"]]
    assert forced[-2:] == ["computed: the last two always are"] * 2 and forced[-3] is None


def second_half(kind: str) -> Graph:
    """The demo's graph whose sampler takes over after eight of twenty steps that were sampled without FastCache."""
    halves = graph(fastcache={})
    whole = halves["sample"]["inputs"]
    if kind == "KSamplerAdvanced":
        kept = ("positive", "negative", "cfg", "sampler_name", "scheduler", "steps")
        common = {"noise_seed": 7, **{name: whole[name] for name in kept}}
        first = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 8, "return_with_leftover_noise": "enable"}
        then = {"add_noise": "disable", "start_at_step": 8, "end_at_step": 20, "return_with_leftover_noise": "disable"}
    else:
        halves["sampler"] = node("KSamplerSelect", sampler_name="euler")
        halves["sigmas"] = node("BasicScheduler", model=["shift", 0], scheduler="simple", steps=20, denoise=1.0)
        halves["split"] = node("SplitSigmas", sigmas=["sigmas", 0], step=8)
        common = {name: whole[name] for name in ("positive", "negative", "cfg")} | {"sampler": ["sampler", 0]}
        first = {"add_noise": True, "noise_seed": 7, "sigmas": ["split", 0]}
        then = {"add_noise": False, "noise_seed": 7, "sigmas": ["split", 1]}
    halves["first"] = node(kind, model=["shift", 0], latent_image=["latent", 0], **common, **first)
    halves["sample"] = node(kind, model=["fastcache", 0], latent_image=["first", 0], **common, **then)
    return halves


@pytest.mark.parametrize("kind", ["KSamplerAdvanced", "SamplerCustom", "image to image"])
def test_parts_of_a_schedule_are_corrected(server, kind):
    part = graph(fastcache={}, denoise=0.6) if kind == "image to image" else second_half(kind)
    reference, _ = sample(server, bypassed(part))
    (corrected, report), (plain, other) = (
        sample(server, with_corrector(part, corrector, threshold=0.3)) for corrector in (True, False)
    )
    print(f"\n{kind}: {quality(corrected, reference):.1f} dB at {report['computed_fraction']:.0%} of the work, without "
          f"corrector {quality(plain, reference):.1f} dB at {other['computed_fraction']:.0%}")  # fmt: skip
    assert report["run"]["corrections"] > 0 and report["computed_fraction"] < 0.8
    assert quality(corrected, reference) > quality(plain, reference)

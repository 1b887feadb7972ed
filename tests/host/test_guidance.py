"""Guidance that changes in mid-run: passes and scales that end, prompts that take turns. Nothing is mixed up then."""

from __future__ import annotations

from demo.graphs import Graph, node

from .conformance import AT_REST, COMPUTED, EXACT, last_reasons, off_by, repeat_graph
from .graphs import PROMPTS, graph, quality, refined, sample

ENDS = 4  # evaluations, of the six of a run whose input is at rest from the third on
EVERYTHING = {"rule": "interval", "interval": 9, "level": "model_output"}  # is predicted that may be


def with_guidance(fastcache: dict | None, evaluations: int, kind: str, **settings: int) -> Graph:
    """The toy Flux at rest, with a node that changes its guidance between model and FastCache."""
    built = repeat_graph("flux", evaluations, fastcache)
    built["guided"] = node(kind, model=["toy", 0], **settings)
    built["sample" if fastcache is None else "fastcache"]["inputs"]["model"] = ["guided", 0]
    return built if fastcache is None else refined(built, EVERYTHING)


def test_a_pass_that_takes_the_place_of_one_that_ended_is_not_predicted_from_it(server):
    kind = "FastCacheToyPasses"
    both, _ = sample(server, with_guidance(None, COMPUTED, kind, first_until=1000))
    second, _ = sample(server, with_guidance(None, COMPUTED, kind, first_until=0))
    assert off_by(both, second) > 100 * EXACT
    again, report = sample(server, with_guidance({}, AT_REST, kind, first_until=ENDS))
    assert any(reason.startswith("predicted: ") for reason in last_reasons(report))
    assert off_by(again, second) <= EXACT
    assert max(report["computed"][ENDS]) > 0


def test_a_conditioning_with_an_area_stays_itself_when_the_other_side_is_not_asked_for(server):
    """ComfyUI copies the positive one to the other side then, and its uuid as well."""

    def with_area(built: Graph) -> Graph:
        built["area"] = node(
            "ConditioningSetArea", conditioning=["positive", 0], width=128, height=128, x=64, y=64, strength=1.0
        )
        built["both"] = node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["area", 0])
        built["split"] = node("FastCacheToySplit", model=["guided", 0], after=0)
        target = "fastcache" if "fastcache" in built else "sample"
        built[target]["inputs"]["model"] = ["split", 0]
        built["sample"]["inputs"]["positive"] = ["both", 0]
        return built

    kind = "FastCacheToyNoGuidance"
    guided, _ = sample(server, with_area(with_guidance(None, COMPUTED, kind, after=1000)))
    plain, _ = sample(server, with_area(with_guidance(None, COMPUTED, kind, after=0)))
    assert off_by(guided, plain) > 100 * EXACT
    again, report = sample(server, with_area(with_guidance({}, AT_REST, kind, after=ENDS)))
    assert all(reason.startswith("predicted: ") for reason in last_reasons(report))
    assert off_by(again, plain) <= EXACT


def test_the_corrector_does_not_interpolate_across_a_change_of_prompts(server):
    """One prompt for the first half of the schedule, another one for the second: derivatives jump between them."""

    def taking_turns(fastcache: dict | None, **settings) -> Graph:
        built = graph(fastcache=fastcache)
        built["other"] = node("FastCacheDemoPrompt", prompts="\n".join(reversed(PROMPTS)))
        built["first"] = node("ConditioningSetTimestepRange", conditioning=["positive", 0], start=0.0, end=0.5)
        built["second"] = node("ConditioningSetTimestepRange", conditioning=["other", 0], start=0.5, end=1.0)
        built["turns"] = node("ConditioningCombine", conditioning_1=["first", 0], conditioning_2=["second", 0])
        built["sample"]["inputs"]["positive"] = ["turns", 0]
        return built if fastcache is None else refined(built, {"rule": "interval", "interval": 3, **settings})

    reference, _ = sample(server, taking_turns(None))
    found = {}
    for corrector in (True, False):
        latents, report = sample(server, taking_turns({}, corrector=corrector))
        found[corrector] = quality(latents, reference)
        assert report["computed_fraction"] < 0.6
    assert found[True] > found[False] + 1

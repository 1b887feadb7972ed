"""Methods whose masks are made of recorded changes, against transcriptions of how their papers make and use them."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from fastcache_core.calibration.routers import Router, router_of
from fastcache_core.calibration.schedules import change_table, learned_router, patterns
from fastcache_core.config import BlockCacheConfig, FastCacheConfig
from fastcache_core.engine import Run
from fastcache_core.presets import PRESETS

from . import published as p
from . import toys

XS = p.states()
KNOWN = p.profile(XS, p.SIGMAS)
OUTPUTS = [list(added) for added in p.recorded(XS, p.SIGMAS)[1]]  # of each layer at each step


def error(layer: int, step: int, gap: int) -> float:
    """L1rel of a layer's outputs gap steps apart, recorded."""
    return p.l1rel(OUTPUTS[layer][step + gap], OUTPUTS[layer][step])


def reuse(computed: list[list[int]]) -> tuple[list, list]:
    """Steps with a mask: a layer that is not computed adds what it added when it last was."""
    cache, outputs = {}, []
    for x, sigma, row in zip(XS, p.SIGMAS, computed, strict=False):
        for layer, f in enumerate(p.F):
            if row[layer]:
                cache[layer] = f(x, sigma)
            x = x + cache[layer]
        outputs.append(x)
    return outputs, computed


def test_the_change_table_is_l1rel_over_gaps():
    table = change_table(torch.stack(OUTPUTS[1]), 4)
    assert table.shape == (p.EVALUATIONS, 4)
    for step, gap in itertools.product(range(p.EVALUATIONS), range(1, 5)):
        wanted = error(1, step, gap) if step + gap < p.EVALUATIONS else 0.0
        assert table[step, gap - 1].item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_smoothcache(alpha):
    """One schedule for each kind of layer: from a computed step reuse up to 3, while the mean error is within alpha."""
    computed = np.ones((p.EVALUATIONS, p.DEPTH), int)
    for kind in ("attention", "mlp"):
        layers = [i for i, name in enumerate(p.NAMES) if name.startswith(kind)]
        step = 0
        while step < p.EVALUATIONS:
            skipped = 0
            for gap in (3, 2, 1):
                if step + gap < p.EVALUATIONS and np.mean([error(i, step, gap) for i in layers]) <= alpha:
                    skipped = gap
                    break
            computed[step + 1 : step + 1 + skipped, layers] = 0
            step += skipped + 1
    p.assert_same(p.run("SmoothCache", XS, known=KNOWN, strength=alpha), reuse(computed.tolist()))


def test_learning_to_cache():
    """On every other step x = x + (beta f(x) + (1 - beta) cache), with beta in {0, 1} by sigmoid(logit) > theta."""
    theta, threshold = 0.1, 0.15
    logits = learned_router(KNOWN.changes, threshold, theta)
    computed = []
    for step in range(p.EVALUATIONS):
        if step % 2 == 0:
            computed.append([1] * p.DEPTH)
        else:
            computed.append([int(torch.sigmoid(beta) > theta) for beta in logits[step]])
            assert computed[-1] == [int(error(i, step - 1, 1) > threshold) for i in range(p.DEPTH)]
    p.assert_same(p.run("Learning-to-Cache", XS, known=KNOWN, strength=threshold), reuse(computed))


def test_a_router_learned_exported_loaded_and_applied_gives_the_same_mask(tmp_path):
    learned = router_of(learned_router(KNOWN.changes, 0.15))
    learned.save(tmp_path / "router.safetensors")
    loaded = Router.load(tmp_path / "router.safetensors")
    applied = dataclasses.replace(KNOWN, schedule=loaded.schedule(p.SIGMAS[:-1]), changes=None)
    config = FastCacheConfig(BlockCacheConfig(rule="schedule", predictor="reuse", level="sublayer", min_steps=1))
    run = Run(config, p.NAMES, [(0, p.DEPTH - 1)], p.SIGMAS, profile=applied)
    outputs = [toys.evaluate(run, p.BLOCKS, s, x.clone())["cond"] for s, x in zip(p.SIGMAS, XS, strict=False)]
    preset = p.run("Learning-to-Cache", XS, known=KNOWN, strength=0.15)
    assert run.report.to_json()["computed"] == preset[1] == learned.computed()
    assert all(torch.equal(a, b) for a, b in zip(outputs, preset[0], strict=True))
    removed, every = loaded.removed()
    cached = [row for step, row in enumerate(preset[1]) if step % 2]
    assert removed == sum(value == 0 for row in cached for value in row) and every == len(cached) * p.DEPTH


def test_the_learned_router_minimises_the_papers_loss_with_errors_that_add_up():
    """Of beta in {0, 1} for each layer: sum of (1 - beta) |error|^2 + lambda beta, at theta a half."""
    penalty = 0.15**2
    logits = learned_router(KNOWN.changes, 0.15, theta=0.5)
    for step in range(1, p.EVALUATIONS, 2):
        errors = [error(i, step - 1, 1) for i in range(p.DEPTH)]
        losses = {
            gates: sum((1 - b) * e**2 + penalty * b for b, e in zip(gates, errors, strict=True))
            for gates in itertools.product((0, 1), repeat=p.DEPTH)
        }
        assert tuple((logits[step].sigmoid() > 0.5).int().tolist()) == min(losses, key=losses.get)


@pytest.mark.parametrize("quantile", [0.3, 0.5])
def test_invardiff(quantile):
    """Steps whose change is below the quantile of all are reused; of the others, layers below that of their kind."""
    first, last = int(np.ceil(0.1 * p.EVALUATIONS)), p.LAST
    changes = {(s, i): error(i, s - 1, 1) for s in range(first, last) for i in range(p.DEPTH)}
    steps = {s: np.mean([changes[s, i] for i in range(p.DEPTH)]) for s in range(first, last)}
    step_bound = np.quantile(list(steps.values()), quantile)
    bounds = {
        kind: np.quantile([c for (_, i), c in changes.items() if p.NAMES[i].startswith(kind)], quantile)
        for kind in ("attention", "mlp")
    }
    computed = [[1] * p.DEPTH for _ in range(p.EVALUATIONS)]
    for (step, i), change in changes.items():
        whole = steps[step] <= step_bound
        computed[step][i] = int(not (whole or change <= bounds[p.NAMES[i].split()[0]]))
    p.assert_same(p.run("InvarDiff", XS, known=KNOWN, strength=quantile), reuse(computed))


def test_block_caching_adds_changes_up_and_shifts_and_scales_what_is_reused():
    """Per block: computed once the changes since add up to more than delta; y = a * x + b, with b from the cache."""
    delta, cache, outputs, computed = 0.3, {}, [], []
    since = [0.0] * p.DEPTH
    for step, (x, sigma) in enumerate(zip(XS, p.SIGMAS, strict=False)):
        row = []
        for i, f in enumerate(p.F):
            since[i] += error(i, step - 1, 1) if step else 0.0
            row.append(int(step == 0 or since[i] > delta))
            scale = KNOWN.linear[i, i, "img"].scale
            if row[i]:
                y = f(x, sigma)
                cache[i], since[i] = y - scale * x, 0.0
            else:
                y = scale * x + cache[i]
            x = x + y
        outputs.append(x)
        computed.append(row)
    p.assert_same(p.run("Block Caching", XS, known=KNOWN, strength=delta), (outputs, computed))


def test_procache_takes_the_best_of_all_patterns_whose_intervals_never_grow():
    budget = round(p.EVALUATIONS / 3)
    every = [
        intervals
        for intervals in itertools.product((4, 3, 2, 1), repeat=budget)
        if sum(intervals) == p.EVALUATIONS and all(a >= b for a, b in itertools.pairwise(intervals))
    ]
    assert sorted(map(tuple, patterns(p.EVALUATIONS, budget))) == sorted(every)

    def loss(intervals):
        starts = np.cumsum([0, *intervals[:-1]])
        return sum(
            np.mean([error(i, s, g) for i in range(p.DEPTH)])
            for s, v in zip(starts.tolist(), intervals, strict=True)
            for g in range(1, v)
        )

    starts = np.cumsum([0, *min(every, key=loss)[:-1]]).tolist()
    _, computed = p.run("ProCache", XS, known=KNOWN)
    assert computed == [[float(step in starts)] * p.DEPTH for step in range(p.EVALUATIONS)]


@pytest.mark.parametrize("threshold", [0.2, 0.4])
def test_eb_cache_has_a_table_of_full_steps_steps_without_attention_and_steps_without_both(threshold):
    attention = [i for i, name in enumerate(p.NAMES) if name.startswith("attention")]
    mlp = [i for i, name in enumerate(p.NAMES) if name.startswith("mlp")]
    full, table = 0, [0]
    for step in range(1, p.EVALUATIONS):
        gap = step - full
        changed = [np.mean([error(i, full, gap) for i in kind]) > threshold or gap > 4 for kind in (attention, mlp)]
        table.append(0 if changed[0] else 1 if changed[1] else 2)
        full = step if table[-1] == 0 else full
    assert {0, 2} <= set(table)
    rows = {0: [1] * p.DEPTH, 1: [int(i in mlp) for i in range(p.DEPTH)], 2: [0] * p.DEPTH}
    found = p.run("EB-Cache", XS, known=KNOWN, strength=threshold)
    p.assert_same(found, reuse([rows[entry] for entry in table]))


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.needs == "changes"])
def test_without_a_change_table_everything_is_computed(name):
    _, computed = p.run(name, XS)
    assert all(all(row) for row in computed)

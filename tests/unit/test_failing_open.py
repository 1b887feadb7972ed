"""An error of ours never costs a picture: whatever fails, the run goes on, and is as without FastCache from then on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcache_core.corrector import Corrector
from fastcache_core.decisions import Decider
from fastcache_core.memory import Memory
from fastcache_core.predictors import Damping, History
from fastcache_core.report import Report
from fastcache_core.response import euler
from fastcache_core.safety import Safety
from fastcache_core.state import Branch, KeysValues, RunState, TokenAnchors

from . import toys

SIGMAS = [1 - i / 10 for i in range(11)]
PARTS = (
    Corrector, Decider, Memory, History, Damping, Safety, Branch, RunState, KeysValues, TokenAnchors,
)  # fmt: skip
METHODS = [
    (part, name)
    for part in PARTS
    for name, member in vars(part).items()
    if callable(member) and not name.startswith("_") and not isinstance(member, staticmethod | classmethod | property)
] + [(Report, name) for name in ("begin", "explain", "measured", "count", "mark_tokens", "decided")]
# What is called when something has failed already.
LAST_RESORT = {"let_go", "clear", "note"}
METHODS = [(part, name) for part, name in METHODS if name not in LAST_RESORT]


class Planted(RuntimeError):
    """Raised once."""


class Fault:
    """Makes a method raise once, at its n-th call."""

    def __init__(self, part: type, name: str, after: int, error: type[Exception] = Planted):
        self.part, self.name, self.left, self.error = part, name, after, error
        self.real, self.raised = vars(part)[name], False

    def __enter__(self) -> Fault:
        def failing(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                self.raised = True
                raise self.error("planted")
            return self.real(*args, **kwargs)

        setattr(self.part, self.name, failing)
        return self

    def __exit__(self, *error: object) -> None:
        setattr(self.part, self.name, self.real)


def sampled(level: str, token_threshold: float, seed: int, fault: Fault | None) -> tuple[object, list[bool]]:
    """A run of the toy model, and of every evaluation whether it gave what its blocks give without an engine."""
    blocks = [toys.attend(i, 4) for i in range(3)]
    states = toys.trajectory(10, seed=seed)
    for state in states:
        state[:, :2] = states[0][:, :2]  # tokens that rest
    run = toys.make_run(blocks, SIGMAS, 0.3, token_threshold, level=level)
    run.know_sampler(euler(SIGMAS))
    right = []
    for i, sigma in enumerate(SIGMAS[:-1]):
        x = states[i]
        plain = {"txt": toys.text_of(["cond"], x), "img": x.clone()}
        for block in blocks:
            plain = block(plain, sigma, None)
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        streams = {"txt": toys.text_of(["cond"], x), "img": x.clone()}
        for index, block in enumerate(blocks):
            streams = run.run_block(toys.block_call(index, block, sigma, streams))
        told = run.corrected(x[:, None], streams["img"][:, None])[:, 0]
        run.end_evaluation()
        right.append(torch.allclose(told, plain["img"], atol=1e-5))
    run.finish()
    return run, right


@settings(max_examples=200, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    after=st.integers(1, 12),
    level=st.sampled_from(["block", "span", "stack", "model_output"]),
    token_threshold=st.sampled_from([0.0, 1e-4]),
    seed=st.integers(0, 3),
)
def test_whatever_fails_the_run_goes_on_without_fastcache(method, after, level, token_threshold, seed):
    if level == "model_output":
        token_threshold = 0.0
    with Fault(*method, after) as fault:
        run, right = sampled(level, token_threshold, seed, fault)
    if not fault.raised:
        return
    assert isinstance(run.stopped, Planted) or isinstance(run.stopped.__cause__, Planted)
    notes = run.report.to_json()["notes"]
    assert any("FastCache stopped: an error of its own" in note for note in notes)
    # Blocks of the evaluation in which it failed may have been predicted before; from the next one on all is computed.
    stopped = [i for i, fine in enumerate(right) if not fine]
    texts = [text for text in run.report.reason_texts if "FastCache stopped after" in text]
    assert run.report.failed and (texts or len(stopped) < len(right))
    forced = [e.forced is not None and "stopped" in run.report.reason_texts[e.forced] for e in run.report.evaluations]
    assert all(fine for fine, over in zip(right[len(right) - len(forced) :], forced, strict=True) if over)


@pytest.mark.parametrize("level", ["block", "stack"])
def test_what_the_model_raises_is_the_models(level):
    def broken(streams, sigma, attending):
        raise ValueError("the model's own")

    run = toys.make_run([broken], SIGMAS, 0.3, level=level)
    with pytest.raises(ValueError, match="the model's own"):
        toys.evaluate(run, [broken], 1.0, toys.trajectory(1)[0])
    assert run.stopped is None


def test_where_memory_runs_out_what_is_kept_is_let_go_and_the_run_goes_on():
    with Fault(Memory, "remember", 5, torch.OutOfMemoryError) as fault:
        run, right = sampled("stack", 0.0, 0, fault)
    assert fault.raised and run.stopped is None and not run.report.failed
    assert any("memory ran out" in note for note in run.report.notes)
    assert not all(right)  # it predicted again afterwards


def test_memory_that_runs_out_again_and_again_ends_it():
    run = toys.make_run([toys.add(1.0)], SIGMAS, 0.3)
    for _ in range(4):
        run.give_up(torch.OutOfMemoryError("none left"))
    assert run.stopped is not None and run.safety.off

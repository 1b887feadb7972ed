"""Tokens of reference pictures rest all together, while the token selector is on."""

import pytest
import torch

from fastcache_core.calls import BlockCall
from fastcache_core.tokens import Span

from . import toys

SIGMAS = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.0]
IMAGE, REFERENCES = 6, 3
ALL = toys.TEXT + IMAGE + REFERENCES


class Model:
    """One block, whose image stream ends with the tokens of a reference picture, in the joint sequence or apart."""

    def __init__(self, joint: bool):
        self.joint, self.block, self.rows = joint, toys.attend(0, 4), []

    def compute(self, streams, attending):
        whole = streams["img"]
        parts = {"txt": whole[:, : toys.TEXT], "img": whole[:, toys.TEXT :]} if self.joint else streams
        self.rows[-1] = sum(h.shape[1] for h in parts.values())
        out = self.block(parts, 0.5, attending)  # whatever sigma is
        return {"img": torch.cat([out["txt"], out["img"]], dim=1)} if self.joint else out

    def call(self, state):
        text = toys.text_of(["cond"], state)
        streams = {"img": torch.cat([text, state], dim=1)} if self.joint else {"img": state, "txt": text}
        sequence = Span(toys.TEXT, toys.TEXT + IMAGE, ALL, REFERENCES)
        span = sequence if self.joint else Span(0, IMAGE, IMAGE + REFERENCES, REFERENCES)
        return BlockCall(0, streams, ("img", span), sequence, self.compute)

    def evaluate(self, run, sigma, state):
        """The image's tokens, as the engine has them."""
        self.rows.append(0)
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        out = run.run_block(self.call(state.clone()))["img"]
        run.end_evaluation()
        return out[:, toys.TEXT :][:, :IMAGE] if self.joint else out[:, :IMAGE]


def states():
    """All of the image moves, the reference stands still."""
    base = toys.trajectory(1, tokens=IMAGE + REFERENCES)[0]
    moved = []
    for i in range(len(SIGMAS) - 1):
        moved.append(base.clone())
        moved[-1][:, :IMAGE] += i
    return moved


def sampled(joint, **settings):
    settings = {"token_threshold": 1e-3, "selector": {"refresh_interval": 2}, "level": "block"} | settings
    model, run = Model(joint), toys.make_run([lambda: None], SIGMAS, **settings)
    pictures = [model.evaluate(run, sigma, h) for sigma, h in zip(SIGMAS[:-1], states(), strict=True)]
    return model, run, pictures


def test_the_rows_leave_references_out_only_where_they_rest():
    span, active = Span(2, 5, 9, references=3), torch.tensor([[1], [2]])
    assert span.rows(active).tolist() == [[0, 1, 3, 5, 6, 7, 8], [0, 1, 4, 5, 6, 7, 8]]
    assert span.rows(active, resting=True).tolist() == [[0, 1, 3, 8], [0, 1, 4, 8]]
    assert Span(2, 5, 9).rows(active, resting=True).tolist() == Span(2, 5, 9).rows(active).tolist()


@pytest.mark.parametrize("joint", [False, True])
def test_references_rest_for_refresh_interval_evaluations_and_the_image_is_exact(joint):
    model, run, pictures = sampled(joint)
    some = ALL - REFERENCES
    # Two evaluations of warm-up, two in which they rest, one in which they are due, two, one, and the last.
    assert model.rows == [ALL, ALL, some, some, ALL, some, some, ALL, ALL]
    for state, picture in zip(states(), pictures, strict=True):
        parts = {"img": state, "txt": toys.text_of(["cond"], state)}
        wanted = model.block(parts, 0.5, None)["img"][:, :IMAGE]
        torch.testing.assert_close(picture, wanted, rtol=1e-5, atol=1e-5)
    assert "partial: tokens of reference pictures rest until refresh_interval" in run.report.reason_texts


@pytest.mark.parametrize("joint", [False, True])
def test_the_work_reported_is_that_of_the_rows_that_were_computed(joint):
    model, run, _ = sampled(joint)
    assert run.report.computed_fraction == pytest.approx(sum(model.rows) / (ALL * len(model.rows)))


@pytest.mark.parametrize("joint", [False, True])
def test_nothing_rests_while_the_token_selector_is_off(joint):
    model, run, _ = sampled(joint, token_threshold=0.0)
    assert model.rows == [ALL] * (len(SIGMAS) - 1)
    assert run.report.computed_fraction == 1
    model, run, _ = sampled(joint, token_threshold=0.0, block_threshold=10.0, max_consecutive_skips=1)
    assert set(model.rows) == {0, ALL}

"""The engine in a model that has nothing to do with ComfyUI: a toy transformer in the style of diffusers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fastcache_core import BlockCacheConfig, FastCacheConfig, Run, cached_blocks

ROOT = Path(__file__).resolve().parents[2]
SIGMAS = torch.linspace(1, 0, 21).tolist()


class Block(nn.Module):
    """Joint attention block: returns text before image, as diffusers' do."""

    def __init__(self, width):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden_states, encoder_hidden_states, temb):
        n = hidden_states.shape[1]
        x = torch.cat([hidden_states, encoder_hidden_states], dim=1) + temb
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.mlp(x)
        return x[:, n:], x[:, :n]


class ToyDiT(nn.Module):
    def __init__(self, width=32, depth=6):
        super().__init__()
        torch.manual_seed(0)
        self.inward, self.outward = nn.Linear(4, width), nn.Linear(width, 4)
        self.text, self.time = nn.Parameter(torch.randn(1, 3, width)), nn.Linear(1, width)
        self.transformer_blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x, sigma):
        h, text, temb = self.inward(x), self.text.expand(len(x), -1, -1), self.time(torch.full((1, 1, 1), sigma))
        for block in self.transformer_blocks:
            text, h = block(hidden_states=h, encoder_hidden_states=text, temb=temb)
        return self.outward(h)


@torch.no_grad()
def sample(dit, x, run=None):
    for sigma, following in zip(SIGMAS, SIGMAS[1:], strict=False):
        if run is not None:
            run.begin_evaluation(sigma)
            run.begin_call(["cond"])
        x = x + (following - sigma) * dit(x, sigma)
        if run is not None:
            run.end_evaluation()
    return x


def make_run(threshold):
    config = FastCacheConfig(BlockCacheConfig(threshold))
    return Run(config, [f"block {i}" for i in range(6)], [(0, 5)], SIGMAS)


STREAMS = {"streams": ("hidden_states", "encoder_hidden_states"), "returns": ("encoder_hidden_states", "hidden_states")}


@pytest.mark.parametrize("threshold", [1e-9, 0.1])
def test_a_toy_transformer_samples_faster_and_close_and_is_left_as_it_was(threshold):
    dit, noise = ToyDiT(), torch.randn(2, 16, 4, generator=torch.Generator().manual_seed(1))
    reference, run = sample(dit, noise), make_run(threshold)
    with cached_blocks(run, dit.transformer_blocks, **STREAMS):
        cached = sample(dit, noise, run)
    error = ((cached - reference).norm() / reference.norm()).item()
    assert (run.report.computed_fraction < 0.8) == (threshold == 0.1)
    assert error < 0.05 if threshold == 0.1 else torch.equal(cached, reference)
    assert not any("forward" in vars(block) for block in dit.transformer_blocks)
    assert torch.equal(sample(dit, noise), reference)


def test_while_gradients_are_recorded_everything_is_computed():
    dit, noise, run = ToyDiT(), torch.randn(1, 16, 4), make_run(0.5)
    with cached_blocks(run, dit.transformer_blocks, **STREAMS):
        out = sample.__wrapped__(dit, noise, run)
    out.sum().backward()
    assert run.report.computed_fraction == 1 and run.state.nbytes == 0
    assert "Gradients are recorded" in run.report.notes[0]
    assert dit.inward.weight.grad is not None


def test_blocks_are_put_back_when_sampling_fails():
    dit = ToyDiT()
    own = dit.transformer_blocks[2].forward = lambda hidden_states, encoder_hidden_states, temb: 1 / 0
    run = make_run(0.1)
    with pytest.raises(ZeroDivisionError), cached_blocks(run, dit.transformer_blocks, **STREAMS):
        sample(dit, torch.zeros(1, 16, 4), run)
    assert dit.transformer_blocks[2].forward is own
    assert "forward" not in vars(dit.transformer_blocks[0])


class Tupled(nn.Linear):
    def forward(self, hidden_states):
        return (super().forward(hidden_states),)


def test_a_block_that_returns_a_tuple_of_one_does_so_when_it_is_predicted():
    config = FastCacheConfig(BlockCacheConfig(rule="interval"))
    block, run = Tupled(4, 4), Run(config, ["block 0"], [(0, 0)], SIGMAS)
    with torch.no_grad(), cached_blocks(run, [block]):
        for sigma in SIGMAS[:8]:
            run.begin_evaluation(sigma)
            run.begin_call(["cond"])
            (out,) = block(torch.ones(1, 3, 4))
            assert out.shape == (1, 3, 4)
            run.end_evaluation()
    assert run.report.computed_fraction < 1


def test_the_example_in_the_readme_works():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    dit, noise = ToyDiT(), torch.randn(2, 16, 4, generator=torch.Generator().manual_seed(1))
    names = {"dit": dit, "x": noise, "sigmas": SIGMAS}
    with torch.no_grad():
        exec(code, names)  # noqa: S102 - the project's own README
    assert names["run"].report.computed_fraction < 0.8
    torch.testing.assert_close(names["x"], sample(dit, noise), rtol=0.1, atol=0.1)


def test_the_core_imports_without_comfyui():
    code = "import sys, fastcache_core.adapters; assert not any(name.startswith('comfy') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

"""A toy diffusion transformer whose image tokens may be split between processes, as in sequence parallelism.

Every process holds the tokens of its part and the whole text; attention goes over the keys and values of all. Started
as a program, it is one of these processes: `python -m tests.unit.split_tokens RANK RANKS FOLDER` samples everything in
SCENARIOS and leaves in FOLDER what came of it.
"""

from __future__ import annotations

import datetime
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from fastcache_core.calibration.recorder import Recorder
from fastcache_core.calls import Attending, BlockCall, Streams
from fastcache_core.config import BlockCacheConfig, FastCacheConfig, TokenSelectorConfig
from fastcache_core.engine import Run
from fastcache_core.tokens import Span

BLOCKS, WIDTH, HEADS, TEXT, TOKENS, SAMPLES, STEPS = 4, 16, 2, 3, 24, 2, 20
SIGMAS = [(1 - i / STEPS) ** 1.3 for i in range(STEPS + 1)]
BRANCHES, GUIDANCE = ("cond", "uncond"), 2.0
MODULATION = 0.05  # of the blocks by sigma: little, so that their work changes as the tokens do
HALVES, UNEVEN = ((0, 12), (12, 24)), ((0, 7), (7, 24))


@dataclass(frozen=True)
class Scenario:
    """Settings, and where the tokens are split. lively: whether some tokens move much on either side, so that tokens
    are selected on both. budgets: bytes that each rank may keep; added: evaluation at which the last rank has something
    added between blocks."""

    block_cache: dict
    token_selector: dict = field(default_factory=dict)
    parts: tuple[tuple[int, int], ...] = HALVES
    lively: bool = False
    budgets: tuple[float, ...] | None = None
    added: int | None = None

    @property
    def config(self) -> FastCacheConfig:
        block_cache = BlockCacheConfig(**{"min_steps": 1, "warmup_evaluations": 3} | self.block_cache)
        return FastCacheConfig(block_cache, TokenSelectorConfig(**self.token_selector))


SIGNIFICANCE = {"rule": "significance", "predictor": "reuse", "threshold": 0.03, "max_consecutive_skips": 6}
SCENARIOS = {
    "stack": Scenario(SIGNIFICANCE | {"level": "stack"}),
    "block": Scenario(SIGNIFICANCE | {"level": "block"}),
    "tokens": Scenario(SIGNIFICANCE | {"level": "block", "threshold": 0.2}, {"threshold": 0.002}, lively=True),
    "uneven": Scenario(SIGNIFICANCE | {"level": "stack", "threshold": 0.2}, {"threshold": 0.002}, UNEVEN, lively=True),
    "first block": Scenario({"rule": "first_block", "predictor": "aligned", "threshold": 0.05}),
    "distance": Scenario({"rule": "distance", "norm": "l1", "threshold": 0.02}),
    "chi-square": Scenario({"rule": "paper_chi_square", "threshold": 1.0}, parts=UNEVEN),
    "budget": Scenario(SIGNIFICANCE | {"level": "block"}, {"threshold": 0.002}, budgets=(1e9, 30e3)),
    "added": Scenario(SIGNIFICANCE | {"level": "stack"}, added=1),
}


class ToyDiT:
    """Blocks over [text, image] tokens. part: image tokens that are here; group: of the processes with the others."""

    def __init__(
        self, part: tuple[int, int] = (0, TOKENS), group: dist.ProcessGroup | None = None, lively: bool = False
    ):
        self.part, self.group = slice(*part), group
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(BLOCKS, 4, WIDTH, WIDTH, generator=generator) / WIDTH**0.5
        self.texts = torch.randn(len(BRANCHES), TEXT, WIDTH, generator=generator)
        # Of one half of the picture hardly anything moves; so do a whole sample's tokens, less than the other's.
        self.pace = torch.ones(SAMPLES, TOKENS, 1)
        self.pace[:, : TOKENS // 2] = 0.02
        if lively:
            self.pace[:, ::6] = torch.tensor([6.0, 12.0]).reshape(SAMPLES, 1, 1)
        self.pace[1] *= 0.5

    def block(self, index: int, sigma: float) -> Callable[[Streams, Attending | None], Streams]:
        wq, wk, wv, wm = self.weights[index]

        def compute(streams: Streams, attending: Attending | None) -> Streams:
            x = torch.cat([streams["txt"], streams["img"]], dim=1)
            normed = torch.nn.functional.layer_norm(x, (WIDTH,)) * (1 + MODULATION * math.sin(3 * sigma + index))
            q, k, v = (heads(normed @ w) for w in (wq, wk, wv))
            if attending is not None and attending.serve is not None:
                k, v, _ = attending.serve(0, k, v)
            elif attending is not None and attending.keep is not None:
                attending.keep(0, k, v, None)
            mixed = torch.nn.functional.scaled_dot_product_attention(q, self.of_all(k), self.of_all(v))
            y = x + mixed.transpose(1, 2).flatten(2) + torch.tanh(normed @ wm)
            return {"txt": y[:, :TEXT], "img": y[:, TEXT:]}

        return compute

    def of_all(self, kept: Tensor) -> Tensor:
        """Keys or values [rows, heads, text and own tokens, width] of the text and the tokens of every process."""
        if self.group is None:
            return kept
        whole = kept.new_zeros(*kept.shape[:2], TOKENS, kept.shape[3])
        whole[:, :, self.part] = kept[:, :, TEXT:]
        dist.all_reduce(whole, group=self.group)
        return torch.cat([kept[:, :, :TEXT], whole], dim=2)

    def evaluate(self, run: Run, sigma: float, x: Tensor, block: Callable | None = None, added: bool = False) -> Tensor:
        """Velocity of the image tokens x [samples, tokens, width] that are here, both branches in one batch.

        block: (index, sigma) -> what stands in for a block. added: something is added between two blocks.
        """
        run.begin_evaluation(torch.tensor(sigma))
        run.begin_call(BRANCHES)
        streams = {"img": x.repeat(len(BRANCHES), 1, 1), "txt": self.texts.repeat_interleave(len(x), 0)}
        sequence = Span(TEXT, TEXT + x.shape[1], TEXT + x.shape[1])
        image = "img", Span(0, x.shape[1], x.shape[1])
        for index in range(BLOCKS):
            if added and index == 1:
                streams = streams | {"img": streams["img"] + 0.1}
            compute = (block or self.block)(index, sigma)
            streams = run.run_block(BlockCall(index, streams, image, sequence, compute))
        run.end_evaluation()
        cond, uncond = streams["img"].chunk(2)
        return (uncond + GUIDANCE * (cond - uncond) - x) * self.pace[: len(x), self.part] / BLOCKS


def heads(x: Tensor) -> Tensor:
    """[rows, tokens, width] -> [rows, heads, tokens, width / heads]"""
    return x.unflatten(2, (HEADS, -1)).transpose(1, 2)


def noise() -> Tensor:
    return torch.randn(SAMPLES, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))


def new_run(scenario: Scenario, rank: int = 0, group: dist.ProcessGroup | None = None, recorder=None) -> Run:
    budget = None if scenario.budgets is None else lambda: scenario.budgets[rank]
    names = [f"block {i}" for i in range(BLOCKS)]
    run = Run(scenario.config, names, [(0, BLOCKS - 1)], SIGMAS, memory_budget=budget, group=group, recorder=recorder)
    run.report.grid = (1, 1, 1)
    return run


def sample(run: Run, model: ToyDiT, added: int | None = None, block: Callable | None = None) -> Tensor:
    """Euler's method from noise: the tokens that are here."""
    x = noise()[:, model.part]
    for i, (sigma, following) in enumerate(zip(SIGMAS, SIGMAS[1:], strict=False)):
        x = x + (following - sigma) * model.evaluate(run, sigma, x, block, i == added)
    run.finish()
    return x


def decisions(run: Run) -> dict:
    """What was decided, and upon what: the same on every rank."""
    report = run.report.to_json()
    told = (
        "reasons",
        "reason_texts",
        "change",
        "error_expected",
        "error_realised",
        "size",
        "step",
        "held",
        "forced",
        "notes",
    )
    return {key: report[key] for key in told} | {"levels": report["run"]["levels"]}


def sampled(scenario: Scenario, rank: int, group: dist.ProcessGroup | None) -> dict:
    """One scenario on one rank, or in a process that has all tokens."""
    part = (0, TOKENS) if group is None else scenario.parts[rank]
    run, model = new_run(scenario, rank, group), ToyDiT(part, group, scenario.lively)
    added = scenario.added if group is None or rank == dist.get_world_size(group) - 1 else None
    return {
        "x": sample(run, model, added),
        "decisions": decisions(run),
        "work": run.report.computed_fraction,
        "synchronisations": run.decider.synchronisations,
        "exchanges": getattr(run.ranks, "exchanges", 0),
        "computed": run.report.to_json()["computed"],
    }


def recorded(part: tuple[int, int], group: dist.ProcessGroup | None) -> dict:
    """What a calibration's recorder hands over."""
    recorder = Recorder(1)
    every = Scenario({"rule": "interval", "interval": 1})
    sample(new_run(every, group=group, recorder=recorder), ToyDiT(part, group))
    found = recorder.samples()
    return {"states": found.states, "residuals": found.residuals, "runs": found.runs}


def main(rank: int, ranks: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=ranks,
        timeout=datetime.timedelta(seconds=30),
    )
    group = dist.group.WORLD
    results = {name: sampled(scenario, rank, group) for name, scenario in SCENARIOS.items()}
    results["recorded"] = recorded(HALVES[rank], group)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

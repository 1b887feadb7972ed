"""Toy blocks whose arithmetic makes the right answer obvious, and a loop that drives a `Run` over them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import torch
from torch import Tensor

from fastcache_core.calls import Attending, BlockCall, Streams
from fastcache_core.config import BlockCacheConfig, FastCacheConfig, TokenSelectorConfig
from fastcache_core.curves import MAGNITUDE, OF_STATE, OF_TIME, POLYNOMIAL, Curves
from fastcache_core.engine import Run
from fastcache_core.masks import NEEDED_CURVES
from fastcache_core.predictors import Forecast
from fastcache_core.profile import Profile
from fastcache_core.schedule import Schedule
from fastcache_core.tokens import Span

Block = Callable[[Streams, float, "Attending | None"], Streams]
TEXT = 2


def add(amount: float) -> Block:
    """y = h + amount, written into the input as ComfyUI's blocks do: a residual that never changes."""
    return lambda streams, sigma, attending: {name: h.add_(amount) for name, h in streams.items()}


def add_sigma(slope: float) -> Block:
    """y = h + slope * sigma: a residual linear in sigma, which extrapolation with damping 1 meets exactly."""
    return lambda streams, sigma, attending: {name: h + slope * sigma for name, h in streams.items()}


def attend(seed: int, width: int) -> Block:
    """Single-head attention over the joint sequence [text, image] and a per-token term; honours `attending`."""
    weights = torch.randn(3, width, width, generator=torch.Generator().manual_seed(seed)) / width**0.5

    def block(streams: Streams, sigma: float, attending: Attending | None) -> Streams:
        x = torch.cat([streams["txt"], streams["img"]], dim=1)
        q, k, v = (x @ w for w in weights)
        k, v = k[:, None], v[:, None]  # [samples, heads, tokens, width]
        if attending is not None and attending.serve is not None:
            k, v, _ = attending.serve(0, k, v)
        elif attending is not None and attending.keep is not None:
            attending.keep(0, k, v, None)
        y = x + torch.nn.functional.scaled_dot_product_attention(q[:, None], k, v)[:, 0] + sigma * torch.tanh(x)
        return {"txt": y[:, :TEXT], "img": y[:, TEXT:]}

    return block


def mix(seed: int, width: int, dtype: torch.dtype) -> Block:
    """y = h + tanh(h W), in any dtype."""
    weights = torch.randn(width, width, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return lambda streams, sigma, attending: {name: h.to(dtype) + torch.tanh(h.to(dtype) @ weights)
                                              for name, h in streams.items()}  # fmt: skip


def make_run(
    blocks: Sequence[Block],
    sigmas: Sequence[float],
    block_threshold: float = 0.0,
    token_threshold: float = 0.0,
    *,
    selector: dict | None = None,
    memory_budget: Callable[[], float] | None = None,
    profile: Profile | None = None,
    **block_cache,
) -> Run:
    block_cache = {"rule": "change", "warmup_evaluations": 2, "min_steps": 1, "forecast": Forecast(), **block_cache}
    selector = {"warmup_evaluations": block_cache["warmup_evaluations"], **(selector or {})}
    config = FastCacheConfig(
        BlockCacheConfig(block_threshold, **block_cache), TokenSelectorConfig(token_threshold, **selector)
    )
    names = [f"double {i}" for i in range(len(blocks))]
    if profile is None and block_cache["rule"] in ("schedule", *NEEDED_CURVES):
        profile = every_other(names, sigmas[:-1])
    run = Run(config, names, [(0, len(blocks) - 1)], sigmas, memory_budget=memory_budget, profile=profile)
    run.report.grid = (1, 1, 1)
    return run


def every_other(names: list[str], sigmas: Sequence[float]) -> Profile:
    """A profile whose mask computes the first three evaluations, every other one of the rest, and the last.

    Its curves say that nothing changes.
    """
    last = len(sigmas) - 1
    rows = [[int(i < 3 or i % 2 == 0 or i == last)] * len(names) for i in range(len(sigmas))]
    steady = {name: [1.0 if name == MAGNITUDE else 0.0] * len(rows) for name in (MAGNITUDE, OF_STATE, OF_TIME)}
    curves = Curves(list(sigmas), steady, {POLYNOMIAL: [1.0, 0.0]})
    return Profile("toy", 4, names, schedule=Schedule(list(sigmas), rows), curves=curves)


def block_call(index: int, block: Block, sigma: float, streams: Streams) -> BlockCall:
    n = streams["img"].shape[1]
    sequence = Span(TEXT, TEXT + n, TEXT + n)
    return BlockCall(index, streams, ("img", Span(0, n, n)), sequence, lambda s, attending: block(s, sigma, attending))


def evaluate(
    run: Run,
    blocks: Sequence[Block],
    sigma: float,
    img: Tensor,
    calls: Sequence[Sequence[str]] = (("cond",),),
    replaced: Sequence[int] = (),
    spoil: bool = False,
    mode: Hashable = None,
) -> dict[str, Tensor]:
    """One evaluation of the toy model; every inner sequence of `calls` is one batched model call. Image per branch.

    Blocks named in `replaced` do nothing, and the engine does not get to see them. spoil: check that blocks leave their
    input as it was, and overwrite it and what the last block returned once nobody needs them any more.
    """
    run.begin_evaluation(sigma)
    outputs = {}
    for keys in calls:
        run.begin_call(keys, mode=mode)
        streams = {"img": torch.cat([img] * len(keys)), "txt": text_of(keys, img)}
        for index, block in enumerate(blocks):
            if index not in replaced:
                given, versions = streams, [h._version for h in streams.values()]
                streams = run.run_block(block_call(index, block, sigma, given))
                if spoil:
                    assert [h._version for h in given.values()] == versions
                    spoil_all(h for h in given.values() if not any(shares(h, out) for out in streams.values()))
        whole = streams["img"].clone()
        if spoil:
            spoil_all(streams.values())
        outputs |= dict(zip(keys, whole.chunk(len(keys)), strict=True))
    run.end_evaluation()
    return outputs


def evaluate_joint(run: Run, blocks: Sequence[Block], sigma: float, img: Tensor) -> Tensor:
    """The same with text and image tokens in one stream, text first, as in single blocks. Image of its one branch."""
    tokens = img.shape[1]
    span = Span(TEXT, TEXT + tokens, TEXT + tokens)

    def joined(block: Block) -> Callable[[Streams, Attending | None], Streams]:
        def compute(streams: Streams, attending: Attending | None) -> Streams:
            parts = {"txt": streams["img"][:, :TEXT], "img": streams["img"][:, TEXT:]}
            out = block(parts, sigma, attending)
            return {"img": torch.cat([out["txt"], out["img"]], dim=1)}

        return compute

    run.begin_evaluation(sigma)
    run.begin_call(["cond"])
    streams = {"img": torch.cat([text_of(["cond"], img), img], dim=1)}
    for index, block in enumerate(blocks):
        streams = run.run_block(BlockCall(index, streams, ("img", span), span, joined(block)))
    run.end_evaluation()
    return streams["img"][:, TEXT:]


def shares(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def spoil_all(tensors: Iterable[Tensor]) -> None:
    for h in tensors:
        h.fill_(float("nan"))


def text_of(keys: Sequence[str], img: Tensor) -> Tensor:
    """Every branch has text of its own, so that mixing up branches shows."""
    samples, _, width = img.shape
    return torch.cat([torch.full((samples, TEXT, width), 1.0 + len(key), dtype=img.dtype) for key in keys])


def trajectory(
    steps: int, samples: int = 1, tokens: int = 6, width: int = 4, seed: int = 0, speed: float = 0.02
) -> list[Tensor]:
    """Entry states that drift from step to step, slowly."""
    generator = torch.Generator().manual_seed(seed)
    start, drift = torch.randn(2, samples, tokens, width, generator=generator)
    return [start + speed * i * drift for i in range(steps)]

"""The rows of the tables: methods, each with one knob, and how a knob is turned until a given part is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from demo.graphs import Graph, node
from fastcache_core.presets import PRESETS

from .workloads import Setting, patched

HALVINGS = 8  # of a knob's range
CLOSE = 0.006  # of the work: near enough to the target
TOKEN_THRESHOLD = 0.0001  # FastCache Token Selector's own default
Number = float | int


class Context(Protocol):
    """What a row may ask for while it makes its graph."""

    setting: Setting

    def defaults(self, class_type: str) -> dict[str, Any]:
        """A node's widget values, as a user gets them who drags it in."""

    def profile(self, target: float) -> str:
        """The file name of the profile for this part of the work, calibrated on the training prompts."""

    def evaluations(self, row: str, target: float, seed: int) -> list[float]:
        """Of every evaluation, the part that another row has computed in its measured run."""


@dataclass(frozen=True)
class Knob:
    """What of a row is turned. rising: whether more of it means more work. whole: whether it counts something."""

    name: str
    low: float
    high: float
    whole: bool = False
    rising: bool = False


# Rows without a range to search: the part of the work itself is their knob, or they have none.
TARGET, NONE = Knob("target", 0.0, 1.0), Knob("", 0.0, 0.0)


@dataclass(frozen=True)
class Row:
    """One method. graph(context, seed, prompts, value of the knob) is what is queued. about: for the document, in a
    sentence. group: which of the methods it belongs to. pack: the folder of another pack that must be installed.
    follows: the row whose schedule it takes. calibrates: whether it needs a profile for every part of the work."""

    name: str
    group: str
    about: str
    knob: Knob
    graph: Callable[[Context, int, tuple[str, ...], Number], Graph]
    pack: Path | None = None
    follows: str | None = None
    calibrates: bool = False


UNCACHED = Row(
    "uncached", "reference", "All steps, nothing skipped; what every row is compared with.", NONE,
    lambda context, seed, prompts, value: context.setting.graph(seed, prompts),
)  # fmt: skip


FINE = Row(
    "uncached, 100 steps", "reference", "As good as converged: how far the uncached pictures are from the solver's.",
    NONE, lambda context, seed, prompts, value: context.setting.graph(seed, prompts, steps=100),
)  # fmt: skip


def fewer_steps(sampler: str | None = None) -> Row:
    """Simply fewer steps, of the setting's sampler or of another one."""

    def graph(context: Context, seed: int, prompts: tuple[str, ...], value: Number) -> Graph:
        changes = {"steps": int(value)} | ({"sampler_name": sampler} if sampler else {})
        return context.setting.graph(seed, prompts, **changes)

    name = f"fewer steps, {sampler}" if sampler else "fewer steps"
    about = (
        f"Fewer steps of {sampler or 'the same sampler'}, no caching; compared with all steps of the table's sampler."
    )
    return Row(name, "steps", about, Knob("steps", 1, 64, whole=True, rising=True), graph)


def by_node(
    name: str,
    group: str,
    about: str,
    class_type: str,
    knob: Knob,
    before: Sequence[str] = (),
    pack: Path | None = None,
    **inputs: Any,
) -> Row:
    """A node with its default values, whose knob is one of its inputs; before: nodes without inputs in front of it."""

    def graph(context: Context, seed: int, prompts: tuple[str, ...], value: Number) -> Graph:
        turned = {} if knob is NONE else {knob.name: value}
        patch = node(class_type, **(context.defaults(class_type) | inputs | turned))
        return patched(context.setting.graph(seed, prompts), [*map(node, before), patch])

    return Row(name, group, about, knob, graph, pack)


def preset(method: str) -> Row:
    """A published method, through FastCache Preset."""
    known = PRESETS[method]

    def graph(context: Context, seed: int, prompts: tuple[str, ...], value: Number) -> Graph:
        others = {"preset": node("FastCachePreset", method=method, strength=value)}
        inputs: dict[str, Any] = {"block_cache": ["preset", 0], "token_selector": ["preset", 1]}
        if known.needs or known.blocks.predictor == "linear":
            others["profile"] = node("FastCacheLoadProfile", name=context.profile(0.5))
            inputs["profile"] = ["profile", 0]
        return fastcache(context, seed, prompts, others, **inputs)

    knob = Knob(known.knob.replace("_", " "), 1e-3, 10.0)
    if isinstance(known.published, int):
        knob = Knob(knob.name, 1, 8, whole=True)
    elif known.knob == "alpha":  # by which it skips nearly always, whatever its value
        knob, graph = NONE, published(graph)
    return Row(f"{method} (preset)", "published", f"{known.paper}. {known.differs}", knob, graph)


def published(graph: Callable[..., Graph]) -> Callable[..., Graph]:
    """The same with its knob as published."""
    return lambda context, seed, prompts, value: graph(context, seed, prompts, 0.0)


def fastcache(
    context: Context, seed: int, prompts: tuple[str, ...], others: Mapping[str, Any] | None = None, **inputs: Any
) -> Graph:
    """The node FastCache with its default values but for some inputs; others: nodes that they refer to."""
    patch = node("FastCache", **(context.defaults("FastCache") | inputs))
    return patched(context.setting.graph(seed, prompts), [patch], **(others or {}))


def uncalibrated(name: str, about: str, level: str | None = None, **inputs: Any) -> Row:
    """FastCache as it comes, with its threshold as the knob; level: another one than the default."""

    def graph(context: Context, seed: int, prompts: tuple[str, ...], value: Number) -> Graph:
        if level is None:
            return fastcache(context, seed, prompts, block_threshold=value, **inputs)
        settings = context.defaults("FastCacheBlockCache") | {"level": level, "threshold": value}
        others = {"blocks": node("FastCacheBlockCache", **settings)}
        return fastcache(context, seed, prompts, others, block_cache=["blocks", 0], **inputs)

    return Row(name, "FastCache", about, Knob("block_threshold", 1e-3, 10.0), graph)


def calibrated(name: str, about: str, **inputs: Any) -> Row:
    """FastCache with a profile for the wanted part of the work."""

    def graph(context: Context, seed: int, prompts: tuple[str, ...], value: Number) -> Graph:
        others = {"profile": node("FastCacheLoadProfile", name=context.profile(value))}
        return fastcache(context, seed, prompts, others, profile=["profile", 0], **inputs)

    return Row(name, "FastCache", about, TARGET, graph, calibrates=True)


def extrapolated(row: Row) -> Row:
    """The model's output extrapolated, at the evaluations that a row of FastCache computed for the same seed."""

    def graph(context: Context, seed: int, prompts: tuple[str, ...], value: Number) -> Graph:
        mask = as_mask(context.evaluations(row.name, value, seed))
        patch = node("FastCacheBenchExtrapolate", mask=str(mask))
        return patched(context.setting.graph(seed, prompts), [patch])

    about = (
        f"At the evaluations that the row {row.name!r} computed for the same seed, the whole model runs; at the others "
        "its output is carried on along a line through the last two, undamped: a multistep solver in disguise."
    )
    name = f"model output, schedule of {row.name}"
    return Row(name, "model output", about, TARGET, graph, follows=row.name)


def as_mask(parts: Sequence[float]) -> list[int]:
    """As many whole evaluations as the parts add up to: the first one, then the fullest ones."""
    fullest = sorted(range(len(parts)), key=lambda i: (i > 0, -parts[i], i))[: max(round(sum(parts)), 1)]
    return [int(i in fullest) for i in range(len(parts))]


REUSE = Knob("reuse_threshold", 1e-3, 3.0)
FEWER_STEPS, FEWER_DPMPP = fewer_steps(), fewer_steps("dpmpp_2m")
EASYCACHE_SHIPPED = by_node(
    "EasyCache, as shipped", "core",
    "ComfyUI's own node. In float32, which a CPU samples in, it adds to the sampler's tensor in place and spoils the "
    "picture; half precision is not affected.",
    "EasyCache", REUSE,
)  # fmt: skip
EASYCACHE = by_node(
    "EasyCache, with the in-place fix", "core",
    "The same node behind one that hands it a copy of the latent: what it does in half precision.",
    "EasyCache", REUSE, before=("FastCacheBenchCopy",),
)  # fmt: skip
LAZYCACHE = by_node(
    "LazyCache", "core", "ComfyUI's own node; it does not add in place, so there is nothing to fix.", "LazyCache", REUSE
)
DEFAULT = uncalibrated("FastCache", "As it comes; only block_threshold is turned.")
WITH_TOKENS = uncalibrated(
    "FastCache with token selector", f"The same, with token_threshold {TOKEN_THRESHOLD:g}.",
    token_threshold=TOKEN_THRESHOLD,
)  # fmt: skip
AT_STACK = uncalibrated(
    "FastCache at stack", "The same rule at the level stack: what all blocks together add is predicted.", level="stack"
)
CALIBRATED = calibrated(
    "FastCache calibrated",
    "With a profile for the wanted work, from FastCache Calibrate on prompts that are not measured.",
)
CALIBRATED_TOKENS = calibrated(
    "FastCache calibrated with token selector", f"The same, with token_threshold {TOKEN_THRESHOLD:g}.",
    token_threshold=TOKEN_THRESHOLD,
)  # fmt: skip
OUTPUT_OF_DEFAULT, OUTPUT_OF_CALIBRATED = extrapolated(DEFAULT), extrapolated(CALIBRATED)

OURS = (DEFAULT, WITH_TOKENS, AT_STACK, CALIBRATED, CALIBRATED_TOKENS)
RIVALS = (FEWER_STEPS, FEWER_DPMPP, EASYCACHE_SHIPPED, EASYCACHE, LAZYCACHE, OUTPUT_OF_DEFAULT, OUTPUT_OF_CALIBRATED)
# FastCache itself is among the presets by name.
PUBLISHED = tuple(preset(method) for method in PRESETS if method != "FastCache")
ALL = (FINE, *OURS, *RIVALS, *PUBLISHED)
SHORT = (DEFAULT, CALIBRATED, FEWER_STEPS, EASYCACHE, OUTPUT_OF_DEFAULT, OUTPUT_OF_CALIBRATED)
# Those that come closest on text to image.
CLOSEST = tuple(preset(method) for method in ("DiCache", "ProCache", "EasyCache"))
TOKENS = {WITH_TOKENS.name: DEFAULT.name, CALIBRATED_TOKENS.name: CALIBRATED.name}  # and what they are without
STILL = (DEFAULT, WITH_TOKENS, CALIBRATED, CALIBRATED_TOKENS, FEWER_STEPS, EASYCACHE)


def tuned(knob: Knob, work_at: Callable[[Number], float], target: float) -> Number:
    """The knob's value at which the work is nearest to the target, by halving its range."""
    best, missed = knob.low, float("inf")
    for value, went in _halved(knob, work_at, target):
        if abs(went - target) < missed:
            best, missed = value, abs(went - target)
        if missed <= CLOSE:
            break
    return best


def _halved(knob: Knob, work_at: Callable[[Number], float], target: float) -> Iterator[tuple[Number, float]]:
    """Values that come nearer and nearer, and the work there; small numbers are as far apart as large ones."""
    low, high = knob.low, knob.high
    for _ in range(HALVINGS):
        value = round((low * high) ** 0.5) if knob.whole else float(f"{(low * high) ** 0.5:.4g}")
        work = work_at(value)
        yield value, work
        too_much = (work > target) != knob.rising
        if knob.whole:
            low, high = (value + 1, high) if too_much else (low, value - 1)
            if low > high:
                return
        else:
            low, high = (value, high) if too_much else (low, value)

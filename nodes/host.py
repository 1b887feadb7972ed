"""The one file that touches ComfyUI's internals: it puts a `Run` between the sampler and the model and its blocks.

The node's MODEL carries one OUTER_SAMPLE wrapper with the settings and, later, the last report. Everything else is born
in that wrapper when sampling starts, inside a copy of the guider's model_options, and is gone when it ends, however it
ends: no state on the model, none in the node, nothing to undo. Patches of other packs, set before or after, are
called as before, because ours are laid over them only then.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY, TORCH_COMPILE_KWARGS, apply_torch_compile_factory
from torch import Tensor

from ..fastcache_core.adapters import Family
from ..fastcache_core.adapters.family import kinds_of
from ..fastcache_core.adapters.unknown import UNKNOWN
from ..fastcache_core.calibration.recorder import Recorder
from ..fastcache_core.calls import Attending, BlockCall, Streams
from ..fastcache_core.config import FastCacheConfig
from ..fastcache_core.engine import Run
from ..fastcache_core.profile import Profile
from ..fastcache_core.report import Report, log_line
from ..fastcache_core.sites import is_of_the_whole_model
from ..fastcache_core.tokens import Span
from .audience import Audience, audience_of
from .blocks import Blocks, blocks_of
from .fit import use_of, used_otherwise
from .latents import as_latents, as_tokens, grid_of, patch_of
from .live import LivePreview
from .sublayers import Sublayers

try:
    from comfy.model_prefetch import pause_malloc_graph as paused
except ImportError:  # ComfyUI before 0.35 records no allocations
    paused = nullcontext

KEY = "fastcache"
# In transformer_options: a function that gives the process group of those who sample an image together (ranks.py). Not
# the group itself, because ComfyUI copies the options deeply.
GROUP = "fastcache_group"
MODEL_OUTPUT, SUBLAYER, BLOCK = "model_output", "sublayer", "block"
WHOLE_MODEL = "diffusion_model"
MEMORY_SHARE = 0.4  # of the memory that is free when the first block is reached, the model being loaded by then
log = logging.getLogger(__name__)


def apply_fastcache(
    model: Any,
    config: FastCacheConfig,
    node: str | None = None,
    profile: Profile | None = None,
    recorder: Recorder | None = None,
    tells: bool = True,
) -> Any:
    """A clone of the ModelPatcher `model` that samples with FastCache; of several in a row the last one counts.

    node: id of the node that asks for it, by which previews that look while it samples are found. profile: what was
    learned about this model. recorder: what learns about it. tells: whether the log gets a line about each run.
    """
    patched = without_fastcache(model, "the settings of the last node count")
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, Sampling(config, node, profile, recorder, tells))
    return patched


def without_fastcache(model: Any, then: str) -> Any:
    """A clone of a ModelPatcher that samples as if there were no FastCache; then: what the log says if there was."""
    plain = model.clone()
    if plain.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY):
        log.warning("FastCache: this model already has FastCache; %s.", then)
        plain.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    return plain


def last_report(model: Any) -> dict[str, Any]:
    """The report of the last sampling run with this MODEL; without one, a report that says why there is none.

    People bypass FastCache to compare, and nothing that only shows what it did may stop their workflow then.
    """
    wrappers = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
    if wrappers and wrappers[-1].report is not None:
        return wrappers[-1].report
    nothing = Report()
    if wrappers:
        nothing.note("This FastCache model has not sampled yet: connect what comes after its sampler.")
    else:
        nothing.note("This model does not come from a FastCache node that is at work; nothing was skipped.")
    return nothing.to_json()


class Sampling:
    """OUTER_SAMPLE wrapper: one `Session` per sampling run, whose report stays here."""

    def __init__(
        self,
        config: FastCacheConfig,
        node: str | None,
        profile: Profile | None,
        recorder: Recorder | None,
        tells: bool = True,
    ):
        self.config, self.node, self.profile, self.recorder, self.tells = config, node, profile, recorder, tells
        self.report: dict[str, Any] | None = None

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        guider, begun = executor.class_obj, time.perf_counter()
        noise, sigmas = kwargs.get("noise", *args[:1]), kwargs.get("sigmas", *args[3:4])
        sampler = kwargs.get("sampler", *args[2:3])
        session = self._open(guider, getattr(noise, "shape", ()), sampler, sigmas.tolist())
        original = guider.model_options
        if isinstance(session, Session):
            session.tell_of_profile(sampler)
            session.heed(sampler)
            session.show_to(audience_of(self.node))
            guider.model_options = session.installed_in(original)
        try:
            samples = executor(*args, **kwargs)
            if isinstance(session, Session):
                self._finish(session.run)
            return samples
        finally:
            guider.model_options = original
            if isinstance(session, Session) and session.live is not None:
                session.live.close()
            report = session.run.report if isinstance(session, Session) else session
            report.seconds_total = time.perf_counter() - begun
            self._tell(report)
            if isinstance(session, Session):
                session.run.free()

    def _finish(self, run: Run) -> None:
        """The picture is there: only what is learned from the run is worth losing it."""
        try:
            run.finish()
        except Exception:
            if self.recorder is not None:
                raise
            log.exception("FastCache: the run is over, but what was measured in it could not be read.")

    def _tell(self, report: Report) -> None:
        try:
            self.report = report.to_json()
            level = logging.INFO if self.tells else logging.DEBUG
            log.log(logging.ERROR if report.failed else level, log_line(self.report))
        except Exception:  # a report must not cost the image
            log.exception("FastCache: the run is over, but its report could not be written.")

    def _open(self, guider: Any, shape: Sequence[int], sampler: Any, sigmas: list[float]) -> Session | Report:
        """A session for latents of this shape, or the report that says why this run is left alone."""
        model = guider.model_patcher.model.diffusion_model
        family = blocks_of(model)
        name, reason = type(model).__name__, self.config.off_reason
        if guider.model_patcher.get_additional_models_with_key("multigpu"):
            reason = "Several GPUs sample this image together, which is not supported; it runs without FastCache."
        if family is None and self.config.block_cache.level != MODEL_OUTPUT:
            reason = (
                f"{name} is not supported: FastCache neither knows it nor finds blocks of a transformer that hold most "
                "of its weights. It runs without FastCache."
            )
        if reason is None:
            whole = is_of_the_whole_model(self.config, self.profile) and not may_add_noise(sampler)
            config = at_level(self.config, MODEL_OUTPUT) if whole else self.config
            return Session(config, family, guider, tuple(shape), sigmas, self.profile, self.recorder)
        report = Report(run=self.config.describe() | describe(family, self.profile))
        report.note(reason)
        return report


def describe(family: Family | None, profile: Profile | None) -> dict[str, Any]:
    """What a report says of the model, and of what was learned about it."""
    made_for = None if profile is None else dict(profile.made_for)
    return {"family": family and family.name, "route": family and family.route, "profile": made_for}


def at_level(config: FastCacheConfig, level: str) -> FastCacheConfig:
    """The same settings at another level."""
    return dataclasses.replace(config, block_cache=dataclasses.replace(config.block_cache, level=level))


def reach_of(level: str, family: Family | None, model: Any) -> tuple[str, list[str], list[tuple[int, int]]]:
    """What can be reached of a model at this level, or else at the level `block`.

    The level, names of its blocks, or of what stands for them, and the first and last of each list of like ones; at
    the level `model_output` they are one list, as they are predicted at once with all that is between them.
    """
    if level == MODEL_OUTPUT:
        names = ["model"] if family is None else [name for _, _, name in family.blocks(model)]
        return level, names, [(0, len(names) - 1)]
    if level == SUBLAYER and (parts := family.parts(model)):
        return level, [part.name for part in parts], kinds_of(parts)
    return BLOCK if level == SUBLAYER else level, [name for _, _, name in family.blocks(model)], family.ranges(model)


def sigma_window(model_sampling: Any, config: FastCacheConfig) -> tuple[float, float]:
    """(high, low) sigma of start_percent and end_percent; 0 and 1 leave nothing out, not even rounding."""
    high = model_sampling.percent_to_sigma(config.start_percent) if config.start_percent > 0 else float("inf")
    low = model_sampling.percent_to_sigma(config.end_percent) if config.end_percent < 1 else 0.0
    return float(high), float(low)


class Session:
    """One sampling run: tells the engine which evaluation, which conditionings and which block it is at."""

    def __init__(
        self,
        config: FastCacheConfig,
        family: Family | None,
        guider: Any,
        shape: tuple[int, ...],
        sigmas: list[float],
        profile: Profile | None,
        recorder: Recorder | None,
    ):
        self.guider, self.family, self.model = guider, family, guider.model_patcher.model.diffusion_model
        wanted = config.block_cache.level
        level, names, lists = reach_of(wanted, family, self.model)
        whole = level == MODEL_OUTPUT
        self.run = self._begin(at_level(config, level), names, lists, shape, sigmas, profile, recorder)
        self.run.report.run |= describe(family, profile)
        self.profile, self.cfg = profile, getattr(guider, "cfg", None)
        self.scale, self.made_of = self.cfg, set[Hashable]()  # of this evaluation's guidance
        reach = Sublayers if level == SUBLAYER else Blocks
        self.blocks = None if whole else reach(self.run, family, self.model, paused)
        if level != wanted:
            self.run.report.note(
                f"{type(self.model).__name__}: attention and MLP cannot be reached one by one here, so that "
                "whole blocks are predicted in place of sub-layers."
            )
        if not whole and family.name == UNKNOWN:
            self.run.report.note(f"{type(self.model).__name__}: {family.no_tokens}.")
        self.passes: Counter[Hashable] = Counter()
        self.seen: Counter[Hashable] = Counter()
        self.areas: dict[Hashable, Hashable] = {}
        self.patches: Mapping[Hashable, Callable] = {}  # ours, of blocks
        self.window: Hashable = None
        self.samples = 0
        self.live: LivePreview | None = None

    def _begin(
        self,
        config: FastCacheConfig,
        names: list[str],
        lists: list[tuple[int, int]],
        shape: tuple[int, ...],
        sigmas: list[float],
        profile: Profile | None,
        recorder: Recorder | None,
    ) -> Run:
        """The engine's run, told what it needs to know of the model, the guider and the devices."""
        guider, family, patcher, level = self.guider, self.family, self.guider.model_patcher, config.block_cache.level
        whole = level == MODEL_OUTPUT
        offload = patcher.offload_device if config.cache_device == "offload" else None
        device = offload or patcher.load_device
        separate = None if whole else family.separate
        if any(cond.get("control") is not None for conds in guider.conds.values() for cond in conds):
            separate = "a ControlNet adds to the hidden state between blocks"
        return Run(
            config,
            names,
            lists,
            sigmas,
            sigma_window(patcher.get_model_object("model_sampling"), config),
            offload,
            lambda: MEMORY_SHARE * comfy.model_management.get_free_memory(device),
            separate,
            profile.of_the_whole_model() if whole and profile else profile,
            joined=whole or (family.joined and level != SUBLAYER),
            defaults=family and family.defaults_for(self.model, shape),
            recorder=recorder,
            group=guider.model_options.get("transformer_options", {}).get(GROUP, lambda: None)(),
        )

    def tell_of_profile(self, sampler: Any) -> None:
        """Note which profile this run uses, if it has one, and what was different when it was made."""
        if self.profile is None:
            return
        plan, known = self.run.decider.plan, self.profile.made_for.get("sampler")
        if self.run.safety.off or (plan is not None and plan.problem is not None):
            return  # the report says why it cannot be followed
        settings, predictor = self.run.config.block_cache, self.run.memory.predictor
        self.run.report.note(use_of(self.profile, settings, predictor, plan is not None))
        present = {"sampler": known if is_sampler(sampler, known) else sampler_name(sampler), "cfg": self.cfg}
        different = used_otherwise(self.profile, present)
        if different:
            self.run.report.note(different)

    def heed(self, sampler: Any) -> None:
        """CFG++ moves along another derivative than the guided one, which where it goes does not always show."""
        if sampler_name(sampler).endswith("_pp"):
            self.run.correct_nothing("CFG++ samplers move along another derivative")

    def show_to(self, audience: Audience | None) -> None:
        """Tell those who look about every evaluation, from now on."""
        if audience is not None:
            self.live = LivePreview(audience)
            self.run.observer = self.live.observe

    def installed_in(self, model_options: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of model_options in which the model's blocks go through this session."""
        ours = comfy.model_patcher.create_model_options_clone(model_options)
        options = ours.setdefault("transformer_options", {})
        add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, self.evaluation, options)
        add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, self.conditioning_pass, options)
        add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, self.model_call, options)
        if self.blocks is not None:
            self.patches = self.blocks.patch_all(options.setdefault("patches_replace", {}).setdefault("dit", {}))
            self._compile_blocks_only(ours, options["wrappers"])
        return ours

    def _compile_blocks_only(self, model_options: Mapping[str, Any], wrappers: Mapping[str, Any]) -> None:
        """Where the whole model is to be compiled, compile its blocks instead while FastCache samples.

        Otherwise torch would compile our decisions too, anew for every other outcome; and a graph compiled without
        FastCache would be used again with it, because ComfyUI keeps torch from looking at transformer_options.
        """
        compiling = wrappers.get(WrappersMP.APPLY_MODEL, {})
        settings = model_options.get(TORCH_COMPILE_KWARGS)
        if settings is None or WHOLE_MODEL not in compiled_parts(compiling.get(COMPILE_KEY, ())):
            return
        parts = {name: self.model.get_submodule(name) for name in self.blocks.names}
        blocks = {f"{WHOLE_MODEL}.{name}": torch.compile(block, **settings) for name, block in parts.items()}
        compiling[COMPILE_KEY] = [apply_torch_compile_factory(blocks)]

    def evaluation(self, executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Any:
        """PREDICT_NOISE: one evaluation of the denoiser. Samplers such as Heun ask for several in a step."""
        self.run.begin_evaluation(timestep.flatten()[0])
        self.passes.clear()
        self.made_of.clear()
        try:
            denoised = executor(x, timestep, *args, **kwargs)
            return self.run.corrected(x, denoised, (self.scale, frozenset(self.made_of)))
        finally:
            self.run.end_evaluation()

    def conditioning_pass(self, executor: Any, model: Any, conds: Any, x_in: Tensor, *args: Any, **kwargs: Any) -> Any:
        """CALC_COND_BATCH: an evaluation has one, and more when guidance nodes or context windows add to it.

        Passes are counted for every context window, because windows may come in another order at every step.
        """
        options = next((a for a in (*kwargs.values(), *args) if isinstance(a, dict)), {})
        self.window = context_window(options.get("transformer_options", {}))
        self.passes[self.window] += 1
        self.samples, self.seen = x_in.shape[0], Counter()
        self.scale = getattr(self.guider, "cfg", None)  # which nodes change for a part of the schedule
        self.areas = {cond.get("uuid"): freeze(cond.get("area")) for group in conds for cond in group or ()}
        return executor(model, conds, x_in, *args, **kwargs)

    def model_call(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """APPLY_MODEL: one call of the model, with some of the pass's conditionings in one batch."""
        options = options_of(kwargs.get("transformer_options"), *args)
        uuids, kinds = conditionings(options)
        why_not = None
        if "ar_state" in options:
            why_not = "This sampler has the model remember earlier frames from call to call; its calls are left alone."
        elif not uuids or len(x) != len(uuids) * self.samples:
            why_not = "Another node calls the model on parts of a batch; those calls are left alone."
        if why_not is None:
            self._begin_call(uuids, kinds, (kwargs.get("control") is not None, additions(options, self.patches)))
        else:
            self.run.begin_call([])
            self.run.report.note(why_not)
        if self.blocks is None:
            return self._predict_model(executor, x, *args, **kwargs)
        self.blocks.begin_call(tuple(x.shape))
        with self.blocks.reached():
            return executor(x, *args, **kwargs)

    def _predict_model(self, executor: Any, x: Tensor, sigma: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The whole model as one block, whose residual is the derivative that samplers follow, (x - denoised) / sigma.

        It changes more slowly than the denoised image, and is the model's own output where that is noise or velocity.
        """
        denoised: list[Tensor] = []
        divisor = torch.where(sigma > 0, sigma, 1.0).reshape(-1, *[1] * (x.ndim - 1))

        def compute(streams: Streams, attending: Attending | None) -> Streams:
            denoised.append(executor(x, sigma, *args, **kwargs))
            return {"x": as_tokens(x + (x - denoised[0]) / divisor, patch)}

        patch = patch_of(self.model, tuple(x.shape))
        tokens = as_tokens(x, patch)
        everything = Span(0, tokens.shape[1], tokens.shape[1])
        self.run.report.know_grid(grid_of(tuple(x.shape), patch))
        more = len(self.run.report.blocks) - 1
        call = BlockCall(0, {"x": tokens}, ("x", everything), everything, compute, more=more)
        moved = self.run.run_block(call)["x"]
        return denoised[0] if denoised else x - divisor * (as_latents(moved, tuple(x.shape), patch) - x)

    def _begin_call(self, uuids: list[Hashable], kinds: list[int], mode: Hashable) -> None:
        """mode: what is done to this call that is not done to others."""
        keys, views, number = [], [], self.passes[self.window]
        together = tuple(uuids) if self.family is not None and self.family.mixed else ()
        # ComfyUI copies a conditioning with an area to the other side, its uuid as well.
        for uuid, kind in zip(uuids, kinds, strict=True):
            view = (self.window, self.areas.get(uuid), self.seen[uuid, kind])
            keys.append((number, uuid, kind, view, together))
            views.append(view)
            self.seen[uuid, kind] += 1
            self.made_of.add((number, uuid, kind, mode))
        self.run.begin_call(keys, views, [branch_name(kind) for kind in kinds], mode)


# What is read of transformer_options, which differs between versions of ComfyUI:


def options_of(*candidates: Any) -> dict[str, Any]:
    """The transformer_options among what a model is called with; without any, none."""
    return next((found for found in candidates if isinstance(found, dict) and "cond_or_uncond" in found), {})


def conditionings(options: Mapping[str, Any]) -> tuple[list[Hashable], list[int]]:
    """The uuid of every conditioning in a batch, and whether it is positive (0) or negative (1).

    Versions without uuids tell only the latter, which then stands for both. Nothing, where there are no such options.
    """
    kinds = list(options.get("cond_or_uncond", ()))
    uuids = list(options.get("uuids") or kinds)
    return uuids if len(uuids) == len(kinds) else kinds, kinds


def additions(options: Mapping[str, Any], ours: Mapping[Hashable, Any]) -> frozenset[Hashable]:
    """What tells one pass of guidance from another: flags, and the places of patches that are not ours.

    Passes have no names, and their numbers change when one before them ends.
    """
    flags = {(name, value) for name, value in options.items() if isinstance(value, bool | frozenset)}
    patched = {
        (kind, place)
        for kind, patches in options.get("patches_replace", {}).items()
        for place, patch in patches.items()
        if ours.get(place) is not patch
    }
    return frozenset(flags | patched)


def context_window(options: Mapping[str, Any]) -> Hashable:
    """Which frames this pass sees, or None when it sees all of them."""
    window = options.get("context_window")
    frames = getattr(window, "index_list", None)
    return None if frames is None else freeze(frames)


def compiled_parts(wrappers: Sequence[Callable]) -> set[str]:
    """Names of the model's parts that ComfyUI's wrappers for torch.compile put compiled ones in place of."""
    found = [inspect.getclosurevars(wrapper).nonlocals.get("compiled_module_dict", {}) for wrapper in wrappers]
    return {name for parts in found for name in parts}


def freeze(value: Any) -> Hashable:
    """Nested lists as nested tuples, which can be keys."""
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value


def may_add_noise(sampler: Any) -> bool:
    """Whether a sampler's steps may add noise. Nobody can foresee the derivative then, of which noise is a part; what
    blocks add to the state, they can."""
    function = getattr(sampler, "sampler_function", None)
    return function is not None and "noise_sampler" in inspect.signature(function).parameters


def is_sampler(sampler: Any, name: Any) -> bool:
    """Whether a sampler is the one that ComfyUI has by this name, where several names may be of one function."""
    try:
        return function_name(sampler) == function_name(comfy.samplers.sampler_object(name))
    except AttributeError:  # there is no such name, or the sampler is of another pack's class
        return False


def sampler_name(sampler: Any) -> str:
    """What to call a sampler: `dpmpp_2m`, or the name of its class."""
    try:
        return function_name(sampler).removeprefix("sample_")
    except AttributeError:
        return type(sampler).__name__


def function_name(sampler: Any) -> str:
    return sampler.sampler_function.__name__


def branch_name(cond_or_uncond: int) -> str:
    return {0: "cond", 1: "uncond"}.get(cond_or_uncond, f"cond {cond_or_uncond}")

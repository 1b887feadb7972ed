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
import math
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
from torch import Tensor

from ..fastcache_core.adapters import Family
from ..fastcache_core.adapters.family import kinds_of
from ..fastcache_core.adapters.unknown import UNKNOWN
from ..fastcache_core.calibration.recorder import Recorder
from ..fastcache_core.config import FastCacheConfig
from ..fastcache_core.engine import Run
from ..fastcache_core.profile import Profile
from ..fastcache_core.report import Report, log_line
from ..fastcache_core.response import Response
from ..fastcache_core.sites import is_of_the_whole_model
from ..fastcache_core.whole_model import Place, WholeModel
from .asking import function_name, path_of, response_of, sampler_name, scaled, watched
from .audience import Audience, audience_of, comes_from, executing
from .blocks import Blocks, blocks_of
from .fit import use_of, used_otherwise
from .latents import as_latents, as_tokens, grid_of, patch_of
from .live import LivePreview
from .sublayers import Sublayers

try:
    from comfy.model_prefetch import pause_malloc_graph as paused
except ImportError:  # ComfyUI before 0.35 records no allocations
    paused = nullcontext
try:
    from comfy_api.torch_helpers.torch_compile import (
        COMPILE_KEY,
        TORCH_COMPILE_KWARGS,
        apply_torch_compile_factory,
    )
except ImportError:  # without it nothing is compiled that we would have to know of
    COMPILE_KEY = TORCH_COMPILE_KWARGS = apply_torch_compile_factory = None

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


STALE = (
    "This is an earlier run's report: in this graph, what is connected to after_sample does not come from a sampler "
    "that uses this FastCache. The sampler may be bypassed, or after_sample be connected before it."
)
NOT_SAMPLED = (
    "This FastCache model has not sampled yet: connect what comes after its sampler. A model that was merged from it "
    "samples without FastCache, which belongs after the merge."
)


def last_report(model: Any, prompt: Any = None) -> dict[str, Any]:
    """The report of the last sampling run with this MODEL; without one, a report that says why there is none.

    prompt: the graph that is being executed, for a node that waits for a sampler: a report that is none of its
    sampler's says so first. People bypass FastCache to compare, and nothing that only shows what it did may stop their
    workflow.
    """
    wrappers = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
    if wrappers and wrappers[-1].report is not None:
        report, here = wrappers[-1].report, executing()
        known = prompt is not None and here is not None and wrappers[-1].sampler is not None
        if known and not comes_from(wrappers[-1].sampler, prompt, here[1]):
            return {**report, "notes": [STALE, *report["notes"]]}
        return report
    nothing = Report()
    if wrappers:
        nothing.note(NOT_SAMPLED)
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
        self.sampler: str | None = None  # id of the node that sampled last

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        guider, begun, here = executor.class_obj, time.perf_counter(), executing()
        self.sampler = None if here is None else here[1]
        noise, sigmas = kwargs.get("noise", *args[:1]), kwargs.get("sigmas", *args[3:4])
        sampler = kwargs.get("sampler", *args[2:3])
        session = self._open(guider, getattr(noise, "shape", ()), sigmas.tolist(), kwargs.get("latent_shapes"))
        original = guider.model_options
        if isinstance(session, Session):
            session.tell_of_profile(sampler)
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
            if isinstance(session, Session):
                session.close()
            report.seconds_total = time.perf_counter() - begun
            self._tell(report)
            if isinstance(session, Session):
                session.run.free()

    def _finish(self, run: Run) -> None:
        """The picture is there: only what is learned from the run is worth losing it."""
        run.finish()
        if self.recorder is not None and run.stopped is not None:
            raise run.stopped

    def _tell(self, report: Report) -> None:
        try:
            self.report = report.to_json()
            level = logging.INFO if self.tells else logging.DEBUG
            log.log(logging.ERROR if report.failed else level, log_line(self.report))
        except Exception:  # a report must not cost the image
            log.exception("FastCache: the run is over, but its report could not be written.")

    def _open(
        self, guider: Any, shape: Sequence[int], sigmas: list[float], parts: Sequence[Sequence[int]] | None
    ) -> Session | Report:
        """A session for latents of this shape, or the report that says why this run is left alone.

        parts: shapes of the latents that these are made of, such as a video's and its sound's.
        """
        model = guider.model_patcher.model.diffusion_model
        family = blocks_of(model)
        name, reason = type(model).__name__, self.config.off_reason
        if guider.model_patcher.get_additional_models_with_key("multigpu"):
            reason = "Several GPUs sample this image together, which is not supported; it runs without FastCache."
        whole = is_of_the_whole_model(self.config, self.profile)
        # A flow model whose blocks are not seen is a transformer in one module; U-Nets tell their noise otherwise.
        flow = path_of(guider.model_patcher.get_model_object("model_sampling")).is_flow
        if family is None and not (whole and flow) and self.config.block_cache.level != MODEL_OUTPUT:
            reason = (
                f"{name} is not supported: FastCache neither knows it nor finds blocks of a transformer that hold most "
                "of its weights. It runs without FastCache; the level model_output needs no blocks."
            )
        if reason is None:
            config = at_level(self.config, MODEL_OUTPUT) if whole else self.config
            session = Session(config, family, guider, tuple(shape), sigmas, self.profile, self.recorder)
            session.parts = tuple(math.prod(part[1:]) for part in parts or ())
            return session
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
        self.whole = WholeModel(self.run) if whole else None
        self.parts: tuple[int, ...] = ()  # widths of what latents in one row are made of
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
        self.active: dict[Hashable, set[Hashable]] = {}  # conditionings of the evaluation before, of every pass
        self.predicted = 0  # calls of this evaluation
        self.window: Hashable = None
        self.trajectory: Hashable = None  # which of several latents that a sampler carries through the run
        self.evaluating = self.reached = False
        self.evaluations = self.answered = 0  # computed ones, of which so many never reached the model's blocks
        self.watch: Any = None  # tells when one of the model's blocks runs
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
            path=path_of(patcher.get_model_object("model_sampling")),
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

    def show_to(self, audience: Audience | None) -> None:
        """Tell those who look about every evaluation, from now on."""
        if audience is not None:
            self.live = LivePreview(audience)
            self.run.observer = self.live.observe

    def close(self) -> None:
        """The run is over: what was put into the model goes, and what others did in it is told."""
        if self.watch is not None:
            self.watch.remove()
        if not self.run.report.evaluations:
            self.run.report.note(
                "Nothing was skipped: the sampler asked for no evaluation where FastCache could see it. Another node's "
                "guider or sampler calls the model past ComfyUI's own way."
            )
        if self.answered:
            self.run.report.note(
                f"Another cache on this model answered {self.answered} of the {self.evaluations} evaluations that "
                "FastCache did not predict, and these count as computed here. The picture is the work of both: use one "
                "of the two."
            )

    def _watch_model(self) -> None:
        """See from now on whether what is computed reaches the model: other caches may answer before."""
        lists = [] if self.family is None else self.family.blocks(self.model)
        names = [name for block_list, _, _ in lists[:1] for name in block_list.modules(self.model)]
        watched = self.model.get_submodule(names[len(names) // 2]) if names else self.model

        def reached(*_: Any) -> None:
            self.reached = True

        self.watch = watched.register_forward_pre_hook(reached)

    def installed_in(self, model_options: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of model_options in which the model's blocks go through this session."""
        ours = comfy.model_patcher.create_model_options_clone(model_options)
        options = ours.setdefault("transformer_options", {})
        add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, self.sampling, options)
        # Where a guider hands itself to the sampler past that.
        add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, self.evaluation, options)
        add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, self.conditioning_pass, options)
        add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, self.model_call, options)
        if self.blocks is None and not (TORCH_COMPILE_KWARGS and TORCH_COMPILE_KWARGS in ours):
            self._watch_model()  # a hook would have a compiled model compiled anew
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
        settings = None if TORCH_COMPILE_KWARGS is None else model_options.get(TORCH_COMPILE_KWARGS)
        if settings is None or WHOLE_MODEL not in compiled_parts(compiling.get(COMPILE_KEY, ())):
            return
        parts = {name: self.model.get_submodule(name) for name in self.blocks.names}
        blocks = {f"{WHOLE_MODEL}.{name}": torch.compile(block, **settings) for name, block in parts.items()}
        compiling[COMPILE_KEY] = [apply_torch_compile_factory(blocks)]

    def sampling(
        self, executor: Any, guider: Any, sigmas: Tensor, extra_args: Any, callback: Any, noise: Tensor, *args: Any,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        """SAMPLER_SAMPLE: ask the sampler what it does, and be told of every evaluation that it makes."""
        self.know(response_of(executor.class_obj, guider, sigmas, extra_args, tuple(noise.shape)))
        guider = watched(guider, self.evaluation)
        return executor(guider, sigmas, extra_args, callback, noise, *args, **kwargs)

    def know(self, response: Response | str) -> None:
        """How the sampler answers; a sentence says why that is not known."""
        report = self.run.report
        report.run["sampler_noise"] = None if isinstance(response, str) else response.noisy
        if isinstance(response, str):
            report.note(f"Predictions are not corrected afterwards: the sampler {response}.")
            return
        if response.unguided:
            report.note("Predictions are not corrected afterwards: CFG++ samplers follow the unguided image as well.")
        self.run.know_sampler(response)

    def evaluation(self, executor: Callable, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Any:
        """One evaluation of the denoiser. Samplers such as Heun ask for several in a step."""
        if self.evaluating:
            return executor(x, timestep, *args, **kwargs)
        options = next((a for a in (*args, *kwargs.values()) if isinstance(a, dict)), {})
        self.trajectory = marks(options.get("transformer_options", {}))
        self.passes.clear()
        self.made_of.clear()
        self.evaluating, self.reached = True, False
        self.predicted = 0
        self.run.begin_evaluation(timestep.flatten()[0])
        try:
            denoised = executor(x, timestep, *args, **kwargs)
            if not self.predicted:
                self.evaluations += 1
                self.answered += not self.reached
            return self.run.corrected(x, denoised, (self.scale, frozenset(self.made_of)))
        finally:
            self.run.end_evaluation()
            self.evaluating = False

    def conditioning_pass(self, executor: Any, model: Any, conds: Any, x_in: Tensor, *args: Any, **kwargs: Any) -> Any:
        """CALC_COND_BATCH: an evaluation has one, and more when guidance nodes or context windows add to it.

        Passes are counted for every context window, because windows may come in another order at every step.
        """
        options = next((a for a in (*kwargs.values(), *args) if isinstance(a, dict)), {})
        self.window = context_window(options.get("transformer_options", {}))
        self.passes[self.window] += 1
        self.samples, self.seen = x_in.shape[0], Counter()
        self.scale = getattr(self.guider, "cfg", None)  # which nodes change for a part of the schedule
        self._expect(conds, args[0] if args else kwargs.get("timestep"))
        self.areas = {cond.get("uuid"): freeze(cond.get("area")) for group in conds for cond in group or ()}
        return executor(model, conds, x_in, *args, **kwargs)

    def _expect(self, conds: Any, timestep: Any) -> None:
        """Where a conditioning begins or comes back in mid-run, compute this evaluation.

        Its own call is computed in any case; whether the others are in that call or in one of their own depends on how
        much memory ComfyUI found, and the picture must not.
        """
        place = self.passes[self.window], self.window, self.trajectory
        parts = [cond for group in conds for cond in group or ()]
        active = {cond.get("uuid") for cond in parts}
        if isinstance(timestep, Tensor) and any("timestep_start" in c or "timestep_end" in c for c in parts):
            sigma = float(timestep.flatten()[0])
            active = {
                cond.get("uuid")
                for cond in parts
                if cond.get("timestep_end", -math.inf) <= sigma <= cond.get("timestep_start", math.inf)
            }
        before, self.active[place] = self.active.get(place), active
        if before is not None and not active <= before:
            self.run.compute_all("computed: a conditioning begins here")

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
            hooks = strengths(self.guider.model_patcher)
            self._begin_call(uuids, kinds, (kwargs.get("control") is not None, additions(options, self.patches), hooks))
        else:
            self.run.begin_call([])
            self.run.report.note(why_not)
        if self.blocks is None:
            return self._predict_model(executor, x, *args, **kwargs)
        self.reached = True  # blocks are seen one by one
        self.blocks.begin_call(tuple(x.shape))
        with self.blocks.reached():
            return executor(x, *args, **kwargs)

    def _predict_model(self, executor: Any, x: Tensor, sigma: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The whole model as one block (fastcache_core/whole_model.py)."""
        shape, returned = tuple(x.shape), list[Tensor]()
        patch = patch_of(self.model, shape)

        def compute() -> Tensor:
            returned.append(executor(x, sigma, *args, **kwargs))
            return as_tokens(returned[0], patch)

        self.run.report.know_grid(grid_of(shape, patch))
        sampling = self.guider.model_patcher.get_model_object("model_sampling")
        parts = self.parts if len(self.parts) > 1 and sum(self.parts) == shape[-1] and len(shape) == 3 else ()
        place = Place(*scaled(sampling, sigma))
        predicted = self.whole.denoised(as_tokens(x, patch), place, compute, parts)
        if returned:
            return returned[0]
        self.predicted += 1
        return as_latents(predicted, shape, patch)

    def _begin_call(self, uuids: list[Hashable], kinds: list[int], mode: Hashable) -> None:
        """mode: what is done to this call that is not done to others."""
        keys, views, number = [], [], self.passes[self.window]
        together = tuple(uuids) if self.family is not None and self.family.mixed else ()
        # ComfyUI copies a conditioning with an area to the other side, its uuid as well.
        for uuid, kind in zip(uuids, kinds, strict=True):
            view = (self.window, self.areas.get(uuid), self.seen[uuid, kind], self.trajectory)
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


def marks(options: Mapping[str, Any]) -> Hashable:
    """What a sampler that carries several latents through one run says of the one at hand: names in
    transformer_options."""
    return frozenset((name, value) for name, value in options.items() if isinstance(value, str))


def strengths(patcher: Any) -> Hashable:
    """Of the weights' hooks that are at work, such as LoRAs with keyframes; each strength is another model."""
    hooks = getattr(getattr(patcher, "current_hooks", None), "hooks", ())
    return tuple((id(hook), float(getattr(hook, "strength", 1.0))) for hook in hooks)


def is_sampler(sampler: Any, name: Any) -> bool:
    """Whether a sampler is the one that ComfyUI has by this name, where several names may be of one function."""
    try:
        return function_name(sampler) == function_name(comfy.samplers.sampler_object(name))
    except AttributeError:  # there is no such name, or the sampler is of another pack's class
        return False


def branch_name(cond_or_uncond: int) -> str:
    return {0: "cond", 1: "uncond"}.get(cond_or_uncond, f"cond {cond_or_uncond}")

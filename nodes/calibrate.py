"""FastCacheCalibrate: learns from runs of the user's own model, prompts and sampler what may be predicted, and how."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import comfy.utils
from comfy_api.latest import io

from ..fastcache_core.calibration.calibrator import CalibrationError, Calibrator
from ..fastcache_core.calibration.recorder import BUDGET
from ..fastcache_core.profile import Profile
from .blocks import blocks_of
from .fingerprint import fingerprint, graph_before
from .host import without_fastcache
from .profiles import ProfileSocket
from .trials import Preview, Sampler

log = logging.getLogger(__name__)


class FastCacheCalibrate(io.ComfyNode):
    """What KSampler takes in, FASTCACHE_PROFILE out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheCalibrate",
            display_name="FastCache Calibrate",
            category="model/patch",
            description="Samples a few times with your model, prompts and sampler, and learns from that which work to "
            "predict, and how. The profile is for FastCache, and can be kept with FastCache Save Profile.",
            is_experimental=True,
            inputs=[
                io.Model.Input("model", tooltip="A diffusion transformer, after its LoRAs and before FastCache."),
                io.Conditioning.Input(
                    "positive", tooltip="What the samplers that will use the profile are given, or something like it."
                ),
                io.Conditioning.Input("negative", tooltip="The same of what the images should not show."),
                io.Latent.Input("latent_image", tooltip="What is sampled, usually an empty latent of the usual size."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,  # else the next run would calibrate anew
                    tooltip="Of the first run; each other one counts on. Lower: other images; higher: other images, "
                    "from which much the same is learned.",
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=10000,
                    tooltip="As in the sampler that will use the profile. Lower: quicker, less to skip; higher: "
                    "longer, more to skip.",
                ),
                io.Float.Input(
                    "cfg",
                    default=8.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="As in the sampler that will use the profile. 1: the negative prompt does not count; "
                    "higher: the prompts count for more.",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=list(comfy.samplers.KSampler.SAMPLERS),
                    tooltip="As in the sampler that will use the profile.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=list(comfy.samplers.KSampler.SCHEDULERS),
                    tooltip="As in the sampler that will use the profile.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="As in the sampler that will use the profile. 1: starts from noise; lower: starts from the "
                    "latent image.",
                ),
                io.Int.Input(
                    "runs",
                    default=16,
                    min=2,
                    max=1000,
                    tooltip="So often the whole image is sampled and recorded; then schedules are tried, in up to "
                    "twice as many quicker runs. Lower: quicker; higher: learns more, which pays less and less above "
                    "16.",
                ),
                io.Float.Input(
                    "target_speedup",
                    default=2.0,
                    min=1.1,
                    max=10.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How many times as fast the blocks shall be; the schedule that makes the least error at "
                    "that is looked for. Lower: more faithful; higher: faster.",
                ),
            ],
            outputs=[
                ProfileSocket.Output(
                    display_name="profile", tooltip="For FastCache's profile and for FastCache Save Profile."
                ),
                io.String.Output(display_name="summary", tooltip="What was learned, in sentences."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],  # by which an interrupted calibration is known again
        )

    @classmethod
    def execute(cls, model, runs, target_speedup, **widgets) -> io.NodeOutput:
        why_not = not_calibrated(model)
        if why_not:
            raise ValueError(why_not)
        graph = graph_before(cls.hidden.prompt, cls.hidden.unique_id)
        key = fingerprint([model if graph is None else (graph, model.patches), runs, target_speedup, widgets])
        plain = without_fastcache(model, "calibration samples without it")
        network = plain.model.diffusion_model
        parts = bool(blocks_of(network).parts(network))
        calibrator = unfinished.taken_up(key, lambda: Calibrator(runs, target_speedup, parts=parts))
        try:
            profile = calibrated(calibrator, Sampler(plain, **widgets), runs, target_speedup)
        except CalibrationError as error:
            unfinished.forget()  # going on with what was recorded would end here again
            raise ValueError(str(error)) from None
        unfinished.forget()
        summary = [*calibrator.summary(), *dict.fromkeys(calibrator.recorder.notes)]
        for sentence in summary:
            log.info("FastCache Calibrate: %s", sentence)
        return io.NodeOutput(profile, "\n".join(summary))


def not_calibrated(model: Any) -> str | None:
    """Why nothing can be learned about a model, or None."""
    network = model.model.diffusion_model
    if blocks_of(network) is not None:
        return None
    return (
        f"{type(network).__name__} cannot be calibrated: FastCache neither knows it nor finds blocks of a transformer "
        "in it. Use FastCache Block Cache with the level model_output, which needs no profile."
    )


def calibrated(calibrator: Calibrator, sampler: Sampler, runs: int, target_speedup: float) -> Profile:
    """Sample whatever the calibrator still asks for, and what it then has learned."""
    bar = comfy.utils.ProgressBar(1)
    while (trial := calibrator.next()) is not None:
        done, trials = calibrator.progress

        def watch(step: int, steps: int, preview: Preview, done: int = done, trials: int = trials) -> None:
            bar.update_absolute(done * steps + step, trials * steps, preview)  # which is where an interrupt arrives

        log.info("FastCache Calibrate: run %d of at most %d, %s.", done + 1, trials, trial.why)
        latents, report = sampler.sample(trial, watch)
        if not report["computed"] or not calibrator.recorder.sigmas:
            raise ValueError(f"Nothing can be learned from this run. {' '.join(report['notes'])}")
        calibrator.take(trial, latents)
    bar.update_absolute(1, 1)  # it may end earlier than at most
    family = blocks_of(sampler.model.model.diffusion_model)
    return calibrator.profile(family.name, sampler.describe() | {"runs": runs, "target_speedup": target_speedup})


@dataclass
class Unfinished:
    """The calibration that was interrupted or failed last: one at most, kept until it is finished or another begins."""

    key: Any = None
    calibrator: Calibrator | None = None

    def taken_up(self, key: Any, begin: Callable[[], Calibrator]) -> Calibrator:
        """The calibrator that had begun with the same inputs, or a new one, which takes the place of any other."""
        if self.calibrator is not None and key == self.key:
            log.info("FastCache Calibrate: continues after %d of %d runs.", *self.calibrator.progress)
            return self.calibrator
        if self.calibrator is not None:
            log.info("FastCache Calibrate: inputs have changed, so what was interrupted before begins anew.")
        self.key, self.calibrator = key, begin()
        most = BUDGET * (1 if self.calibrator.parts is None else 2)
        log.info("FastCache Calibrate: what is recorded takes at most %d MB of system memory.", most // 2**20)
        return self.calibrator

    def forget(self) -> None:
        """It is finished, or shall not be."""
        self.key = self.calibrator = None


unfinished = Unfinished()

"""What samplers, guiders, schedules and numbers of others do beside FastCache, in a process of its own: prints JSON.

python -m tests.host.outside
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.samplers import STEPS, Cell, Ground, closeness

CELL = Cell("flow", "euler", "simple", 1.0, 3.0, 0.1)
CELLS = {
    "half, dpmpp_2m": CELL._replace(sampler="dpmpp_2m", threshold=0.14),
    "half, deis": CELL._replace(sampler="deis", threshold=0.14),
    "half, ipndm": CELL._replace(sampler="ipndm", threshold=0.14),
    "noise, er_sde": CELL._replace(sampler="er_sde"),
    "noise, euler_ancestral": CELL._replace(sampler="euler_ancestral", threshold=0.2),
    "wide, euler": CELL._replace(told="cosmos", scheduler="karras"),
    "wide, dpmpp_2m": CELL._replace(told="cosmos", scheduler="karras", sampler="dpmpp_2m"),
    "wide, v": CELL._replace(told="v", scheduler="karras", cfg=7.0),
    "eps": CELL._replace(told="sd", scheduler="exponential"),
}


def main() -> None:
    ground = Ground(Path(os.environ["FASTCACHE_COMFYUI"]))
    found: dict[str, Any] = {}
    for name, cell in CELLS.items():
        measured = ground.measure(cell)
        found[name] = {**measured._asdict(), "lead": measured.lead}
    found |= Others(ground).all()
    print(json.dumps(found))


class Others:
    """Samplers and guiders as other packs have them."""

    def __init__(self, ground: Ground):
        from comfy.k_diffusion import sampling

        self.ground, self.comfy, self.torch = ground, ground.comfy, ground.torch
        self.functions = sampling

    def all(self) -> dict[str, Any]:
        ksampler, torch = self.comfy.samplers.KSAMPLER, self.torch
        euler, noisy = self.functions.sample_euler, self.functions.sample_dpmpp_sde

        def in_dtype(dtype: Any) -> Callable:
            def sample(model, x, sigmas, **options):
                return euler(model, x.to(dtype), sigmas, **options)

            return sample

        def hiding(model, x, sigmas, **options):
            """A wrapper whose parameters do not show what it wraps."""
            return noisy(model, x, sigmas, **options)

        schedule = self.comfy.samplers.calculate_sigmas(self.ground.told(CELL).get_model_object("model_sampling"),
                                                        "simple", STEPS)  # fmt: skip
        padded = torch.cat([schedule[:11], schedule[-1:], schedule[-1:]])
        repeated = torch.cat([schedule[:8], *[schedule[7:8]] * 6, schedule[8:]])
        return {
            "float64": self.case(ksampler(in_dtype(torch.float64)), schedule),
            "float16": self.case(ksampler(in_dtype(torch.float16)), schedule),
            "hidden noise": self.case(ksampler(hiding), schedule),
            "open noise": self.case(ksampler(noisy), schedule),
            "padded": self.case(ksampler(self.halting), padded),
            "repeated": self.case(ksampler(euler), repeated),
            "past the guider": self.case(ksampler(euler), schedule, guider=True),
            "another cache": self.case(ksampler(euler), schedule, cache=True),
            "plain steps that are asked for": self.case(ksampler(euler), schedule, threshold=0.0),
        }

    def halting(self, model: Any, x: Any, sigmas: Any, extra_args: Any = None, **options: Any) -> Any:
        """Euler's method that asks once more where a schedule ends in two zeros, and stands still there."""
        for sigma, following in zip(sigmas, sigmas[1:], strict=False):
            denoised = model(x, sigma * x.new_ones(len(x)), **(extra_args or {}))
            x = denoised if sigma == 0 else x + (following - sigma) * (x - denoised) / sigma
        return x

    def case(
        self, sampler: Any, sigmas: Any, guider: bool = False, cache: bool = False, threshold: float = 0.1
    ) -> dict[str, Any]:
        ground = self.ground
        model = ground.told(CELL)
        if cache:
            from comfy_extras.nodes_easycache import EasyCacheNode

            model = EasyCacheNode.execute(model, 0.4, 0.15, 0.95, False).result[0]
        cached = ground.cached(model, threshold)
        whole, ours = (self.sample(each, sampler, sigmas, guider) for each in (model, cached))
        report = ground.host.last_report(cached)
        return {
            "work": report["computed_fraction"],
            "mask": "".join(f"{row[0]:.0f}" for row in report["computed"]),
            "ours": closeness(ours, whole),
            "notes": report["notes"],
            "same": bool(np.array_equal(ours, whole)),
        }

    def sample(self, model: Any, sampler: Any, sigmas: Any, past: bool) -> np.ndarray:
        comfy, ground = self.comfy, self.ground

        class Past(comfy.samplers.CFGGuider):
            """Goes past what ComfyUI wraps."""

            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                return self.predict_noise(*args, **kwargs)

        guider = (Past if past else comfy.samplers.CFGGuider)(model)
        guider.set_conds(ground.positive, ground.negative)
        guider.set_cfg(3.0)
        latents = self.torch.full((len(ground.pictures), 3, 32, 32), -1.0)
        noise = comfy.sample.prepare_noise(latents, 1)
        with self.torch.no_grad():
            made = guider.sample(noise, latents, sampler, sigmas, disable_pbar=True, seed=1)
        return made.float().numpy() / 2 + 0.5


if __name__ == "__main__":
    main()

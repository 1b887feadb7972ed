"""FastCacheBlockCache: everything about when blocks are predicted, and how."""

from __future__ import annotations

from comfy_api.latest import io

from ..fastcache_core.config import LEVELS, PREDICTORS, RULES, BlockCacheConfig
from .checks import complaint
from .curve import THRESHOLD_CURVE, curve_of

BlockCacheSocket = io.Custom("FASTCACHE_BLOCK_CACHE")
DEFAULTS = BlockCacheConfig()


class FastCacheBlockCache(io.ComfyNode):
    """Settings in, FASTCACHE_BLOCK_CACHE out, for FastCache's socket of that name."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheBlockCache",
            display_name="FastCache Block Cache",
            category="model/patch",
            description="When blocks are predicted instead of computed, and how. Takes the place of FastCache's "
            "block_threshold.",
            is_experimental=True,
            inputs=[
                io.Combo.Input(
                    "rule",
                    options=list(RULES),
                    default=DEFAULTS.rule,
                    tooltip="significance: the error expected of predicting, learned while sampling. change: how far "
                    "the state has moved. distance: the same as the crow flies. first_block, first_block_distance: "
                    "how far the first block's work has moved. rate: the change at the last measured rate. interval: "
                    "every n-th evaluation (FORA). schedule, fitted_change, magnitude, sensitivity: as a profile says. "
                    "paper_chi_square: the paper's test, which skips nearly always; for study.",
                ),
                io.Float.Input(
                    "threshold",
                    default=DEFAULTS.threshold,
                    min=0.0,
                    max=10.0,
                    step=0.005,
                    round=0.001,
                    tooltip="What the rule measures may be this large. 0: block cache off; higher: faster, less "
                    "faithful. interval, schedule and paper_chi_square only ask whether it is 0.",
                ),
                io.Float.Input(
                    "alpha",
                    default=DEFAULTS.alpha,
                    min=0.001,
                    max=0.999,
                    step=0.01,
                    round=0.001,
                    tooltip="significance: how often the error may exceed what was promised. 0.5: the expected error "
                    "is held against the threshold; lower: a bound that holds more often, so fewer skips; higher: more "
                    "skips.",
                ),
                io.Int.Input(
                    "interval",
                    default=DEFAULTS.interval,
                    min=1,
                    max=1000,
                    tooltip="interval: one evaluation in so many is computed. 1: all of them; higher: faster.",
                ),
                io.Combo.Input(
                    "predictor",
                    options=list(PREDICTORS),
                    default=DEFAULTS.predictor,
                    tooltip="What stands in for skipped work. auto: the best one measured. reuse: what the block did "
                    "last. extrapolate: carried on in sigma. aligned: as far as what the rule looks at went. linear: "
                    "also follows what changed in the state, with factors from a profile or found while sampling.",
                ),
                io.Combo.Input(
                    "level",
                    options=list(LEVELS),
                    default=DEFAULTS.level,
                    tooltip="What is predicted at once. model_output: the whole model, for any model, least memory. "
                    "stack: all blocks. span: a quarter of a list of blocks. block: each by itself. sublayer: "
                    "attention and MLP of each block, before their gate, where they can be reached; most memory. auto: "
                    "model_output; stack or block with samplers that add noise, selected tokens, a profile or settings "
                    "of blocks.",
                ),
                io.String.Input(
                    "block_thresholds",
                    default=DEFAULTS.block_thresholds,
                    tooltip="Thresholds of their own for ranges of blocks, such as 0-6: 0.02, 7-18: 0.08 or "
                    "double 0-3: 0. 0: never predict these; empty: the threshold holds for all.",
                ),
                io.Int.Input(
                    "warmup_evaluations",
                    default=DEFAULTS.warmup_evaluations,
                    min=0,
                    max=1000,
                    tooltip="So many evaluations are computed first. Lower: faster start; higher: the composition "
                    "stays closer to the uncached one. 0: what suits model and schedule, 2 or 3 for images, one more "
                    "above a megapixel, up to 5 for videos.",
                ),
                io.Boolean.Input(
                    "corrector",
                    default=DEFAULTS.corrector,
                    optional=True,
                    tooltip="Once an evaluation is computed, what the predicted ones before it did to the picture is "
                    "put right. For every sampler but adaptive and CFG++ ones; the last two evaluations are then "
                    "always computed. Off: less memory, more error.",
                ),
                THRESHOLD_CURVE,
            ],
            outputs=[BlockCacheSocket.Output(display_name="block_cache", tooltip="For FastCache's block_cache.")],
        )

    @classmethod
    def validate_inputs(cls, rule, threshold, alpha, interval, predictor, level, block_thresholds,
                        warmup_evaluations, corrector=DEFAULTS.corrector) -> bool | str:  # fmt: skip
        return complaint(
            BlockCacheConfig,
            rule=rule,
            threshold=threshold,
            alpha=alpha,
            interval=interval,
            predictor=predictor,
            level=level,
            block_thresholds=block_thresholds,
            warmup_evaluations=warmup_evaluations,
            corrector=corrector,
        )

    @classmethod
    def execute(cls, threshold_curve=None, **widgets) -> io.NodeOutput:
        return io.NodeOutput(BlockCacheConfig(**widgets, threshold_curve=curve_of(threshold_curve)))

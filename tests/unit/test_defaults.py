import pytest
import torch

from fastcache_core.adapters.flux import FLUX
from fastcache_core.config import BlockCacheConfig, FastCacheConfig
from fastcache_core.defaults import by_rule
from fastcache_core.engine import Run

from .test_adapters import model_of


@pytest.mark.parametrize(
    ("blocks", "tokens", "threshold", "warmup", "few_steps"),
    [
        (16, 64, 0.1, 3, 8),
        (57, 4096, 0.084, 3, 8),  # Flux.1 at a megapixel
        (40, 32760, 0.1, 4, 9),  # Wan 14B, 81 frames of 832 x 480
        (60, 118800, 0.082, 5, 10),  # HunyuanVideo, 129 frames of 1280 x 720
        (0, 0, 0.1, 3, 8),
    ],
)
def test_defaults_go_by_depth_and_tokens(blocks, tokens, threshold, warmup, few_steps):
    defaults = by_rule(blocks, tokens)
    assert (defaults.block_threshold, defaults.warmup_evaluations, defaults.few_steps) == (threshold, warmup, few_steps)
    assert defaults.measured is None


def test_defaults_stand_for_what_was_left_open_only():
    defaults = by_rule(40, 32760)
    left_open = FastCacheConfig().completed(defaults).block_cache
    assert (left_open.warmup_evaluations, left_open.min_steps) == (4, 9)
    given = FastCacheConfig(BlockCacheConfig(warmup_evaluations=2, min_steps=1)).completed(defaults).block_cache
    assert (given.warmup_evaluations, given.min_steps) == (2, 1)


def test_the_report_says_which_defaults_there_were():
    run = Run(FastCacheConfig(), ["a", "b"], [(0, 1)], [1.0, 0.5, 0.0], defaults=by_rule(2, 32760))
    assert run.report.run["defaults"] == {
        "block_threshold": 0.1,
        "warmup_evaluations": 4,
        "few_steps": 9,
        "measured": None,
    }


def test_a_family_counts_its_blocks_and_tokens_and_survives_shapes_it_does_not_know():
    model = model_of("comfy.ldm.flux.model.Flux", patch_size=2)
    assert FLUX.defaults_for(model, (1, 16, 256, 256)).warmup_evaluations == 4
    assert FLUX.defaults_for(model, (7,)).warmup_evaluations == 3
    assert FLUX.defaults_for(model, torch.zeros(()).shape).warmup_evaluations == 3

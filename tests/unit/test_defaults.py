import pytest
import torch

from fastcache_core.adapters.flux import FLUX
from fastcache_core.config import BlockCacheConfig, FastCacheConfig
from fastcache_core.defaults import Defaults, by_rule
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


def shifted(steps, shift):
    """Sigmas of flow matching, evenly spaced before the shift."""
    times = [1 - i / steps for i in range(steps + 1)]
    return [shift * t / (1 + (shift - 1) * t) for t in times]


@pytest.mark.parametrize(
    ("steps", "shift", "warmup"),
    [(20, 1, 3), (20, 3, 2), (20, 8, 2), (10, 3, 3), (10, 6, 2), (50, 1, 2), (2, 8, 3), (1, 1, 3)],
)
def test_where_the_third_evaluation_still_sees_noise_the_warm_up_is_two(steps, shift, warmup):
    assert by_rule(16, 64).warmup_at(shifted(steps, shift)) == warmup
    run = Run(FastCacheConfig(), ["a"], [(0, 0)], shifted(steps, shift))
    assert run.config.block_cache.warmup_evaluations == warmup
    assert run.config.token_selector.warmup_evaluations == 3


def test_several_sites_wait_for_the_whole_warm_up():
    for level, warmup in {"stack": 2, "model_output": 2, "block": 3, "span": 3}.items():
        config = FastCacheConfig(BlockCacheConfig(level=level))
        run = Run(config, ["a", "b", "c", "d"], [(0, 3)], shifted(20, 3))
        assert run.config.block_cache.warmup_evaluations == warmup, level


def test_longer_warm_ups_are_one_shorter_and_one_or_two_stay():
    assert by_rule(40, 32760).warmup_at(shifted(20, 8)) == 3
    assert by_rule(40, 32760).warmup_at(shifted(20, 3)) == 4  # the fourth is at 94 %
    assert all(Defaults(0.1, least, 8).warmup_at(shifted(50, 8)) == least for least in (1, 2))
    given = FastCacheConfig(BlockCacheConfig(warmup_evaluations=3))
    assert given.completed(by_rule(16, 64), shifted(20, 8)).block_cache.warmup_evaluations == 3
    scheduled = FastCacheConfig(BlockCacheConfig(rule="schedule"))
    assert scheduled.completed(by_rule(16, 64), shifted(20, 8)).block_cache.warmup_evaluations == 1


def test_rising_sigmas_see_no_noise_first():
    assert by_rule(16, 64).warmup_at(shifted(20, 8)[::-1]) == 3


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

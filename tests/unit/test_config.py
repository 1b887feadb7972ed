import math

import pytest

from fastcache_core.config import BlockCacheConfig, FastCacheConfig, TokenSelectorConfig


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BlockCacheConfig(threshold=-0.1), "block_threshold is -0.1"),
        (lambda: BlockCacheConfig(threshold=math.nan), "block_threshold is nan"),
        (lambda: BlockCacheConfig(threshold="much"), "block_threshold is 'much'"),
        (lambda: BlockCacheConfig(predictor="magic"), "one of: auto, reuse, extrapolate"),
        (
            lambda: BlockCacheConfig(rule="sensitivity", level="model_output"),
            "which the level model_output touches none",
        ),
        (lambda: BlockCacheConfig(rule="magnitude", level="model_output"), "choose the level stack, or another rule"),
        (lambda: BlockCacheConfig(max_consecutive_skips=0), "max_consecutive_skips is 0"),
        (lambda: BlockCacheConfig(max_consecutive_skips=1.5), "whole number"),
        (lambda: TokenSelectorConfig(threshold=math.inf), "token_threshold is inf"),
        (lambda: TokenSelectorConfig(min_active=0.9, max_active=0.1), "min_active"),
        (lambda: FastCacheConfig(start_percent=1.5), "start_percent is 1.5"),
        (lambda: FastCacheConfig(start_percent=0.8, end_percent=0.2), "must be below end_percent"),
        (lambda: FastCacheConfig(cache_device="disk"), "one of: main, offload"),
    ],
)
def test_an_invalid_value_is_refused_with_a_sentence(make, words):
    with pytest.raises(ValueError, match=".") as refusal:
        make()
    assert words in str(refusal.value)
    assert str(refusal.value).endswith(".")


def test_both_thresholds_at_zero_say_that_nothing_can_be_skipped():
    off = FastCacheConfig(BlockCacheConfig(0.0), TokenSelectorConfig(0.0))
    assert "Switched off" in off.off_reason
    assert FastCacheConfig().off_reason is None

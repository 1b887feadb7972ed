"""nodes/preset.py: what it says of widget values that no method can have."""

from __future__ import annotations

import importlib

import pytest

from tests.unit.schemas import PACK, pack

pack()
preset = importlib.import_module(f"{PACK}.nodes.preset")


@pytest.mark.parametrize(
    ("method", "strength", "sentence"),
    [
        ("FORA", 2.5, "strength 2.5 is none for FORA: interval is 2.5, but it must be a whole number"),
        ("EasyCache", 100, "strength 100 is none for EasyCache: block_threshold is 100, but it must lie between"),
        ("FastCache (paper)", 2, "strength 2 is none for FastCache (paper): alpha is 2, but"),
        ("Magic", 0, "There is no method 'Magic'; choose one of: FastCache"),
    ],
)
def test_what_is_refused_is_called_as_on_the_node(method, strength, sentence) -> None:
    told = preset.FastCachePreset.validate_inputs(method, strength)
    assert told.startswith(sentence) and told.endswith(".")


def test_every_method_is_accepted_as_published() -> None:
    assert all(preset.FastCachePreset.validate_inputs(method, 0.0) is True for method in preset.PRESETS)

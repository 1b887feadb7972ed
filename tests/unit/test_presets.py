"""The table of presets; what each of them does is tested against its published formula in test_published_*.py."""

import re
from pathlib import Path

import pytest

from fastcache_core.calibration.schedules import MAKERS
from fastcache_core.config import MASKS, FastCacheConfig
from fastcache_core.masks import mask_of, place_of, what_is_missing
from fastcache_core.presets import NOT_APPLICABLE, PRESETS, settings

from . import published as p

ROOT = Path(__file__).resolve().parents[2]
TESTS = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_published_*.py"))


@pytest.mark.parametrize("name", PRESETS)
def test_strength_takes_the_place_of_the_methods_own_knob(name):
    preset = PRESETS[name]
    assert settings(name) == (preset.blocks, preset.tokens)
    assert FastCacheConfig(*settings(name)).off_reason is None
    stronger = settings(name, preset.published / 2 if preset.published < 1 else preset.published + 1)
    changed = [vars(a).items() - vars(b).items() for a, b in zip(stronger, settings(name), strict=True)]
    assert [key for part in changed for key, _ in part] == [preset.knob]
    assert preset.differs.endswith(".") and preset.paper


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "FastCache"])
def test_every_method_is_tested_against_its_formula(name):
    assert f'p.run("{name}"' in TESTS or f'run_some("{name}"' in TESTS


def test_an_unknown_method_and_an_impossible_strength_are_refused_with_a_sentence():
    for wrong in (("Magic", 0), ("FORA", 2.5), ("MagCache", -1), ("FastCache", float("nan"))):
        with pytest.raises(ValueError, match=r"\.$"):
            settings(*wrong)


def test_reasons_are_sentences_and_no_method_is_in_both_lists():
    assert all(re.fullmatch(r"[A-Z].*\.", reason) for reason in NOT_APPLICABLE.values())
    assert not set(NOT_APPLICABLE) & set(PRESETS)


def test_every_mask_has_a_maker():
    assert set(MASKS) == {"profile", *MAKERS}


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.needs])
def test_what_a_method_needs_and_lacks_is_said(name):
    blocks, _ = settings(name)
    assert "Connect what FastCache Calibrate gives" in what_is_missing(blocks, None)
    assert what_is_missing(blocks, p.profile(p.states(), p.SIGMAS)) is None


def test_blocks_of_a_profile_speak_for_their_sublayers():
    doubles, singles = [f"double {i}" for i in range(3)], [f"single {i}" for i in range(2)]
    blocks = [*doubles, *singles]
    assert [place_of(name, blocks) for name in ("single 1", "double_attention 2", "single_mlp 0")] == [4, 2, 3]
    assert [place_of(name, ["block 0", "block 1"]) for name in ("attention 1", "mlp 0", "block 1")] == [1, 0, 1]
    assert place_of("mlp 7", ["block 0"]) is None


def test_a_mask_is_made_for_the_sublayers_of_a_run():
    known = p.profile(p.states(), p.SIGMAS, names=[f"block {i}" for i in range(p.DEPTH)])
    names = [f"{kind} {i}" for kind in ("attention", "mlp") for i in range(p.DEPTH)]
    blocks, _ = settings("Learning-to-Cache", 0.15)
    mask = mask_of(blocks, known, names)
    assert mask.sigmas == known.curves.sigmas
    assert [row[: p.DEPTH] for row in mask.computed] == [row[p.DEPTH :] for row in mask.computed]
    assert [row[: p.DEPTH] for row in mask.computed] == mask_of(blocks, known, known.blocks).computed
    assert mask_of(blocks, known, ["mlp 99"]) is None


@pytest.mark.parametrize("name", PRESETS)
def test_the_documentation_says_what_the_table_says(name):
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    section = text.partition(f"\n### {name}\n")[2].partition("\n#")[0]
    preset = PRESETS[name]
    assert f"Differs: {preset.differs}" in section
    assert f"`{preset.knob}` {preset.published:g};" in section and preset.paper in section
    assert f"predictor `{preset.blocks.predictor}`" in section


def test_the_documentation_lists_what_cannot_be_a_preset():
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    for name, reason in NOT_APPLICABLE.items():
        assert f"- **{name}**: {reason}" in text

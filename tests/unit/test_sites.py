import pytest

from fastcache_core.sites import Cut, spans
from fastcache_core.thresholds import along_schedule, parse_thresholds, thresholds_of

LISTS = [(0, 6), (7, 9)]  # seven double blocks, three single ones


def ranges(level, **options):
    return [(site.first, site.last) for site in Cut(LISTS, level, **options).sites]


def test_levels_cut_the_model_from_fine_to_coarse():
    assert ranges("block") == [(i, i) for i in range(10)]
    assert ranges("span") == [(0, 0), (1, 2), (3, 4), (5, 6), (7, 7), (8, 8), (9, 9)]
    assert ranges("stack") == [(0, 9)]


def test_a_probe_is_a_site_of_its_own_about_which_nothing_is_decided():
    assert ranges("stack", probe=True) == [(0, 0), (1, 9)]
    assert ranges("span", probe=True)[:2] == [(0, 0), (1, 2)]
    cut = Cut([(0, 4)], "span", probe=True)
    assert [site.first for site in cut.predictable] == [1, 2, 3]
    assert cut.is_probe(cut.at[0]) and not cut.is_probe(cut.at[1])


@pytest.mark.parametrize("level", ["block", "span", "stack"])
def test_every_block_is_at_one_site_and_only_the_last_site_ends_the_model(level):
    cut = Cut(LISTS, level)
    assert [block for site in cut.sites for block in site.blocks] == list(range(10))
    assert [site.ends for site in cut.sites] == [False] * (len(cut.sites) - 1) + [True]
    assert all(block in cut.at[block].blocks for block in range(10))


def test_spans_are_as_equal_as_they_can_be():
    assert spans(0, 18) == [(0, 3), (4, 8), (9, 13), (14, 18)]
    assert spans(5, 6) == [(5, 5), (6, 6)]


NAMES = [*(f"double {i}" for i in range(7)), *(f"single {i}" for i in range(3))]


def test_thresholds_are_read_per_range_and_the_later_one_counts():
    found, problems = thresholds_of(NAMES, parse_thresholds("0-6: 0.02, 5 - 8:0.08; single 2: 0"))
    assert found == {**dict.fromkeys(range(5), 0.02), **dict.fromkeys(range(5, 9), 0.08), 9: 0.0}
    assert problems == []
    assert thresholds_of(NAMES, parse_thresholds("")) == ({}, [])


def test_a_word_alone_is_all_blocks_of_that_name():
    found, problems = thresholds_of(NAMES, parse_thresholds("double: 0.1, double 2: 0, joint: 0.3"))
    assert found == {**dict.fromkeys(range(7), 0.1), 2: 0.0}
    assert problems == [
        "block_thresholds: 'joint: 0.3' names blocks that do not exist; this model has no joint blocks."
    ]


def test_ranges_beyond_the_model_are_said_and_the_rest_counts():
    found, problems = thresholds_of(NAMES, parse_thresholds("single 1-8: 0.1, joint 0: 0.1"))
    assert found == {8: 0.1, 9: 0.1}
    assert "'single 1-8: 0.1' names blocks that do not exist; this model has single blocks 0 to 2." in problems[0]
    assert "this model has no joint blocks" in problems[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0-6 0.02", "part 1 from character 1: '0-6 0.02' has no colon"),
        ("0-2: 0.1, -3: 0.2", "part 2 from character 11: '-3' in '-3: 0.2' names no blocks"),
        ("0-2: 0.1,\n\n  Double 3 : 0.2", "part 2 from character 14: 'Double 3' in 'Double 3 : 0.2' names no blocks"),
        ("6-0: 0.02", "write '0-6'"),
        ("1: much", "threshold in '1: much' must be a number from 0 to 10"),
        ("1: nan", "must be a number"),
        ("1: 11", "must be a number"),
        (7, "must be text"),
    ],
)
def test_faulty_thresholds_are_refused_and_the_faulty_part_is_named(text, words):
    with pytest.raises(ValueError, match="block_thresholds") as refusal:
        parse_thresholds(text)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("curve", "schedule", "values"),
    [
        ((1.0, 0.0), [1.0, 0.5, 0.25], [1, 0.5, 0]),  # by step, not by sigma
        ((3.0,), [1.0, 0.5], [3, 3]),
        ((2.0, 1.0), [1.0], [2]),
        ((0.0, 1.0), [0.1, 0.6, 0.9], [0, 0.5, 1]),  # rising, as when an image is turned into noise
        ((0.0, 1.0), [1.0, 0.4, 0.9, 0.5, 0.1], [0, 0.25, 0.5, 0.75, 1]),  # with a restart
    ],
)
def test_a_curve_is_spread_evenly_over_the_steps(curve, schedule, values):
    assert [along_schedule(curve, schedule, sigma) for sigma in schedule] == pytest.approx(values)
    assert along_schedule(curve, schedule, 1e9) in curve  # whatever sampler asks for what

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastcache_core.config import CHOICES, TokenSelectorConfig
from fastcache_core.signals import relative_change, token_saliency
from fastcache_core.tokens import Span, active_indices, choose_active, clusters, gather_tokens, once, scatter_tokens


def test_relative_change_is_that_of_the_sample_that_changed_most():
    reference = torch.ones(2, 3, 4)
    h = reference.clone()
    h[1] *= 1.5
    assert abs(relative_change(h, reference).item() - 0.5) < 1e-6
    assert relative_change(reference, reference).item() == 0


def test_saliency_is_relative_to_the_mean_token():
    anchor = torch.ones(1, 4, 2)
    h = anchor.clone()
    h[0, 2] += 1.0  # squared change 2, mean squared norm 2
    torch.testing.assert_close(token_saliency(h, anchor), torch.tensor([[0.0, 0.0, 1.0, 0.0]]))


def test_active_are_salient_tokens_and_those_due_for_refresh():
    saliency = torch.tensor([[0.0, 0.5, 0.0, 0.2]])
    age = torch.tensor([[0, 0, 3, 0]])
    config = TokenSelectorConfig(threshold=0.1, refresh_interval=3)
    assert choose_active(saliency, age, config).tolist() == [[False, True, True, True]]


@given(st.integers(1, 40), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32))
def test_the_active_fraction_stays_within_its_bounds(tokens, threshold, a, b, seed):
    config = TokenSelectorConfig(threshold, min(a, b), max(a, b), refresh_interval=4)
    generator = torch.Generator().manual_seed(seed)
    saliency = torch.rand(2, tokens, generator=generator)
    active = choose_active(saliency, torch.randint(0, 6, (2, tokens), generator=generator), config)
    counts = active.sum(dim=1)
    assert (counts >= max(1, round(config.min_active * tokens))).all()
    assert (counts <= max(1, round(config.max_active * tokens))).all()


def test_clusters_are_what_lies_together():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    belongs = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 2])
    h = centres[belongs] + torch.randn(2, 9, 2, generator=torch.Generator().manual_seed(0))
    for row in clusters(h, 3).tolist():
        assert len(set(zip(belongs.tolist(), row, strict=True))) == 3 == len(set(row))


def test_one_token_of_each_cluster_is_computed_and_all_are_when_one_is_due():
    """ClusCa's choice, of each cluster the token that waited most, then the one that changed most."""
    h = torch.tensor([[[0.0], [0.1], [5.0], [5.1], [5.2]]])
    saliency, age = torch.tensor([[0.1, 0.3, 0.5, 0.2, 0.1]]), torch.tensor([[0, 0, 0, 1, 1]])
    config = TokenSelectorConfig(threshold=1.0, choose="clusters", clusters=2, refresh_interval=3)
    assert choose_active(saliency, age, config, h).tolist() == [[False, True, False, True, False]]
    assert choose_active(saliency, age + 2, config, h).tolist() == [[True] * 5]


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**32))
def test_at_most_one_token_of_each_cluster_and_never_none(tokens, count, seed):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randint(0, 3, (2, tokens, 2), generator=generator).float()  # some lie upon each other
    saliency, age = torch.rand(2, tokens, generator=generator), torch.zeros(2, tokens, dtype=torch.int32)
    config = TokenSelectorConfig(threshold=1.0, choose="clusters", clusters=count, refresh_interval=3)
    chosen, belongs = choose_active(saliency, age, config, h), clusters(h, count)
    for row, groups in zip(chosen, belongs, strict=True):
        assert sorted(groups[row].tolist()) == sorted(set(groups.tolist()))


@given(st.integers(1, 30), st.integers(1, 8))
def test_tokens_take_turns(tokens, interval):
    """Over refresh_interval evaluations every token is computed, at least a share of them at each."""
    config = TokenSelectorConfig(threshold=1.0, choose="round_robin", refresh_interval=interval)
    age, seen = torch.zeros(1, tokens, dtype=torch.int32), torch.zeros(1, tokens, dtype=torch.bool)
    for evaluation in range(interval):
        chosen = choose_active(torch.zeros(1, tokens), age, config)
        assert int(chosen.sum()) == -(-tokens // interval)
        if evaluation == 0 and tokens % interval == 0:
            assert chosen[0].nonzero().flatten().tolist() == list(range(0, tokens, interval))
        age, seen = torch.where(chosen, 0, age + 1), seen | chosen
    assert seen.all()


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5).filter(any), min_size=1, max_size=4))
def test_indices_name_exactly_the_active_tokens(rows):
    active = torch.tensor(rows)
    indices = active_indices(active, int(active.sum(dim=1).max()))
    for wanted, got in zip(active, indices, strict=True):
        assert set(got.tolist()) == set(wanted.nonzero().flatten().tolist())


def test_a_repeated_token_counts_once():
    """In both branches of a call whose samples are chosen for alike."""
    mask = torch.tensor([[True, False, True, True], [False, True, False, False]])
    active = active_indices(mask, 3)
    assert active.tolist() == [[0, 2, 3], [1, 1, 1]]
    counted = [[True, True, True], [True, False, False]]
    assert once(mask, active)[..., 0].tolist() == counted
    assert once(mask, active.repeat(2, 1))[..., 0].tolist() == counted * 2
    assert once(mask, active_indices(mask, 4))[..., 0].sum(dim=1).tolist() == [3, 1]  # another rank has more


@given(st.integers(0, 3), st.integers(1, 6), st.integers(0, 3), st.data())
def test_rows_hold_all_other_tokens_and_the_active_ones_in_order(before, tokens, after, data):
    span = Span(before, before + tokens, before + tokens + after)
    chosen = sorted(data.draw(st.sets(st.integers(0, tokens - 1), min_size=1)))
    rows = span.rows(torch.tensor([chosen]))[0].tolist()
    assert rows == [*range(before), *(before + i for i in chosen), *range(span.stop, span.length)]


def test_gather_and_scatter_are_inverse():
    h = torch.randn(2, 5, 3)
    rows = torch.tensor([[4, 0], [2, 1]])
    copy = torch.zeros_like(h)
    scatter_tokens(copy, rows, gather_tokens(h, rows))
    assert torch.equal(gather_tokens(copy, rows), gather_tokens(h, rows))
    assert copy.count_nonzero() == 2 * 2 * 3


@pytest.mark.parametrize("choose", CHOICES)
def test_tokens_are_chosen_without_looking_at_numbers(choose):
    """Which would wait for the device; here there are none to look at."""
    h = torch.empty(2, 20, 4, device="meta")
    age = torch.zeros(2, 20, dtype=torch.int32, device="meta")
    config = TokenSelectorConfig(threshold=0.5, choose=choose, clusters=5)
    assert choose_active(h[..., 0], age, config, h).shape == (2, 20)

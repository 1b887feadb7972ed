import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastcache_core.linear import KINDS, RIDGE, Full, LowRank, OnlinePerChannel, PerChannel

H = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])  # [samples, tokens, width]
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def one_of_each(width=2, rank=1):
    """Maps of small whole numbers, exact in every dtype."""
    matrix = torch.arange(float(width * width)).reshape(width, width)
    return [PerChannel(matrix[-1]), LowRank(matrix[:, :rank], matrix[:rank]), Full(matrix)]


def test_per_channel_multiplies_each_channel_by_its_own_factor():
    assert PerChannel(torch.tensor([2.0, -1.0]))(H).tolist() == [[[2, -2], [6, -4]]]


def test_a_full_matrix_has_a_row_per_output_channel():
    assert Full(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))(H).tolist() == [[[2, 2], [4, 6]]]


def test_low_rank_goes_down_and_up():
    """down: the sum of both channels; up: once and ten times."""
    assert LowRank(torch.tensor([[1.0], [10.0]]), torch.ones(1, 2))(H).tolist() == [[[3, 30], [7, 70]]]


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**32))
def test_low_rank_equals_the_full_matrix_that_it_factors(width, rank, seed):
    g = torch.Generator().manual_seed(seed)
    up, down, h = (torch.randn(shape, generator=g) for shape in ((width, rank), (rank, width), (2, 3, width)))
    torch.testing.assert_close(LowRank(up, down)(h), Full(up @ down)(h), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", range(3))
def test_a_map_moved_to_the_dtype_of_the_hidden_state_answers_in_it(index, dtype):
    kept = one_of_each()[index]
    moved = kept.to("cpu", dtype)
    y = moved(H.to(dtype))
    assert y.dtype == dtype
    assert torch.equal(y.float(), kept(H))  # small whole numbers are exact
    assert kept.tensors().keys() == moved.tensors().keys()


@pytest.mark.parametrize("index", range(3))
def test_a_map_that_is_already_there_is_not_copied(index):
    kept = one_of_each()[index]
    assert kept.to("cpu", torch.float32) is kept
    assert kept.to("cpu", torch.float16) is not kept
    assert kept.to("meta", torch.float32).width == 2


@pytest.mark.parametrize("index", range(3))
def test_the_result_is_a_tensor_of_its_own(index):
    h, kept = H.clone(), one_of_each()[index]
    before = kept(h).clone()
    kept(h).fill_(99)
    assert torch.equal(h, H)
    assert torch.equal(kept(h), before)


@pytest.mark.parametrize("shape", [(2,), (3, 2), (1, 3, 2), (0, 2)])
@pytest.mark.parametrize("index", range(3))
def test_any_number_of_dimensions_before_the_width_will_do(index, shape):
    assert one_of_each()[index](torch.zeros(shape)).shape == shape


def test_maps_say_what_they_are_and_what_they_weigh():
    channel, low, full = one_of_each(width=4, rank=3)
    assert [m.describe() for m in (channel, low, full)] == ["per channel", "rank 3", "full matrix"]
    assert [m.width for m in (channel, low, full)] == [4, 4, 4]
    assert [m.nbytes for m in (channel, low, full)] == [16, 96, 64]
    assert full.to("cpu", torch.float16).nbytes == 32


@pytest.mark.parametrize("index", range(3))
def test_a_map_is_made_again_from_its_tensors(index):
    kept = one_of_each()[index]
    again = KINDS[kept.kind].from_tensors(kept.tensors())
    assert type(again) is type(kept)
    assert all(again.tensors()[name] is tensor for name, tensor in kept.tensors().items())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PerChannel(torch.ones(2, 2)), "scale has the shape [2, 2], but a per_channel map needs scale [width]"),
        (lambda: PerChannel(torch.ones(0)), "scale has the shape [0]"),
        (lambda: PerChannel([1.0]), "scale is list, but it must be a tensor"),
        (lambda: PerChannel(torch.ones(2).double()), "scale is torch.float64, but it must be float16, bfloat16"),
        (lambda: PerChannel(torch.ones(2).int()), "scale is torch.int32"),
        (lambda: LowRank(torch.ones(4, 2), torch.ones(3, 4)), "down has the shape [3, 4], but a low_rank map needs up"),
        (lambda: LowRank(torch.ones(4, 2), torch.ones(2, 5)), "down has the shape [2, 5]"),
        (lambda: LowRank(torch.ones(4, 0), torch.ones(0, 4)), "up has the shape [4, 0]"),
        (lambda: LowRank(torch.ones(4, 2), torch.ones(2, 4).half()), "but up is torch.float32 on cpu, down is"),
        (lambda: Full(torch.ones(2, 3)), "matrix has the shape [2, 3], but a full map needs matrix [width, width]"),
        (lambda: LowRank.from_tensors({"up": torch.ones(2, 1)}), "is made of up, down, but got up"),
        (lambda: Full.from_tensors({}), "is made of matrix, but got nothing"),
        (lambda: PerChannel(torch.ones(1))(H), "The map is 1 wide, but the hidden state is 2 wide"),
        (lambda: PerChannel(torch.ones(2))(H.half()), "move the map there with to()"),
        (lambda: Full(torch.ones(2, 2))(H.to("meta")), "but the hidden state is torch.float32 on meta"),
        (lambda: OnlinePerChannel().update(H, H[:, :1]), "dh has the shape [1, 2, 2] and dr [1, 1, 2]"),
        (lambda: OnlinePerChannel().update(H[0], H[0]), "the same [samples, tokens, width]"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(make, words):
    with pytest.raises(ValueError, match=".") as refusal:
        make()
    assert words in str(refusal.value)
    assert str(refusal.value).endswith(".")


# The online fit.


def test_nothing_is_known_before_the_first_update():
    assert OnlinePerChannel().map() is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_fit_recovers_a_known_map(dtype):
    scale = torch.tensor([0.5, -2.0, 0.0, 1.0])  # products with them are exact in every dtype
    fit = OnlinePerChannel()
    for seed in range(3):
        dh = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)
        fit.update(dh, dh * scale.to(dtype))
    found = fit.map().scale
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, scale, rtol=3 * RIDGE, atol=0)
    assert (found.abs() <= scale.abs()).all()  # the ridge pulls towards zero only


def test_the_ridge_is_relative_to_the_mean_channel():
    """Sums of squares 1 and 0: mean 1/2, so the first channel is divided by 1 + ridge / 2, at any scale."""
    for scale in (1.0, 1e-4, 1e4):
        fit = OnlinePerChannel()
        fit.update(torch.tensor([[[scale, 0.0]]]), torch.tensor([[[scale, scale]]]))
        assert fit.map().scale.tolist() == pytest.approx([1 / (1 + RIDGE / 2), 0], rel=1e-3)


def test_each_update_halves_what_earlier_ones_weigh():
    """Factors 1, then 3, of equal changes: (0.5 * 1 + 3) / (0.5 + 1)."""
    fit, dh = OnlinePerChannel(), torch.ones(1, 4, 2)
    fit.update(dh, dh)
    fit.update(dh, 3 * dh)
    assert fit.map().scale.tolist() == pytest.approx([3.5 / 1.5] * 2, rel=2 * RIDGE)


def test_when_nothing_changed_the_map_is_zero():
    fit = OnlinePerChannel()
    fit.update(torch.zeros(1, 4, 2), torch.zeros(1, 4, 2))
    assert fit.map().scale.tolist() == [0, 0]


def test_a_channel_with_an_infinity_keeps_what_it_had():
    fit, dh = OnlinePerChannel(), torch.ones(1, 4, 2)
    fit.update(dh, dh)
    fit.update(dh, torch.tensor([float("inf"), 3.0]).expand(1, 4, 2))
    first, second = fit.map().scale.tolist()
    assert (first, second) == pytest.approx((1, 3.5 / 1.5), rel=2 * RIDGE)
    fit.update(torch.full((1, 4, 2), float("nan")), dh)
    assert fit.map().scale.tolist() == [first, second]


def test_large_changes_in_half_precision_do_not_overflow_the_sums():
    fit, dh = OnlinePerChannel(), torch.full((1, 100, 2), 3e4, dtype=torch.float16)
    fit.update(dh, dh)
    assert fit.map().scale.tolist() == pytest.approx([1, 1], rel=2 * RIDGE)


def test_the_fit_takes_pictures_of_any_size_but_of_one_width():
    fit = OnlinePerChannel()
    for tokens in (4, 9):
        fit.update(torch.ones(1, tokens, 2), torch.ones(1, tokens, 2))
    with pytest.raises(ValueError, match="dh is 3 wide, but it was 2 before; use a new fit."):
        fit.update(torch.ones(1, 4, 3), torch.ones(1, 4, 3))


def test_the_fit_never_reads_a_number_back():
    """Tensors on the meta device have no numbers: to ask for one raises."""
    fit, dh = OnlinePerChannel(), torch.ones(2, 4, 3, device="meta")
    for _ in range(2):
        fit.update(dh, dh)
    assert fit.map().to("meta", torch.float16)(dh.half()).shape == (2, 4, 3)

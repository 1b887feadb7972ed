"""Making out blocks of models that no adapter knows."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from fastcache_core.adapters.family import BlockList
from fastcache_core.adapters.unknown import unknown_family, with_streams


class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.linear = nn.Linear(width, width)


class Other(Block):
    pass


class Model(nn.Module):
    def __init__(self, **lists):
        super().__init__()
        for name, blocks in lists.items():
            setattr(self, name, blocks)


def names(model):
    family = unknown_family(model)
    return family and [block_list.attribute for block_list in family.lists]


def blocks(n, width=4):
    return nn.ModuleList(Block(width) for _ in range(n))


def test_lists_of_alike_blocks_that_hold_most_of_the_weights_are_found():
    assert names(Model(layers=blocks(5))) == ["layers"]
    assert names(Model(inner=Model(double=blocks(3), single=blocks(6)))) == ["inner.double", "inner.single"]
    assert names(Model(layers=blocks(30), refiner=blocks(2))) == ["layers"]
    assert names(Model(layers=nn.ModuleDict({"block0": Block(), "block1": Block()}))) == ["layers"]


def test_lists_within_blocks_are_part_of_them():
    nested = nn.ModuleList(Model(parts=blocks(3)) for _ in range(4))
    assert names(Model(layers=nested)) == ["layers"]


def test_transformers_within_the_stages_of_a_unet_are_none_of_its_own():
    def stages(n):
        return nn.ModuleList(Model(attention=Model(transformer_blocks=blocks(6, 4 * (i + 1)))) for i in range(n))

    assert unknown_family(Model(input_blocks=stages(3), output_blocks=stages(3))) is None
    stage = Model(transformer_blocks=blocks(6))
    assert unknown_family(Model(middle_block=nn.ModuleList([nn.Linear(2, 2), stage]))) is None


@pytest.mark.parametrize(
    "model",
    [
        Model(),
        Model(layers=blocks(1)),
        Model(layers=nn.ModuleList([Block(), Other()])),
        Model(layers=nn.ModuleList(Block(width) for width in (2, 3, 4, 5))),
        Model(layers=blocks(2), rest=nn.Linear(100, 100)),
        Model(layers=nn.ModuleList(nn.Identity() for _ in range(3))),
    ],
    ids=["empty", "one block", "two classes", "as many widths as blocks", "few weights", "no weights"],
)
def test_what_is_no_transformer_is_not_made_out(model):
    assert unknown_family(model) is None


LIST = BlockList("layers", ())
H, TEXT = torch.randn(2, 5, 4), torch.randn(2, 7, 4)


def found(args, out):
    return with_streams(LIST, args, out, rows=2)


def test_streams_are_arguments_that_come_back_in_their_shape():
    streams = found({"x": H, "temb": torch.zeros(2, 4), "text": TEXT}, H + 1)
    assert (streams.streams, streams.returns, streams.axes) == (("x",), ("x",), "b n d")
    streams = found({"x": H, "text": TEXT}, (TEXT + 1, H + 1))
    assert (streams.streams, streams.returns) == (("x", "text"), ("text", "x"))
    streams = found({"x": H, "scale": 2.0}, (H, None))
    assert (streams.streams, streams.returns[0]) == (("x",), "x")
    assert found({"x": torch.zeros(2, 3, 4, 5)}, torch.zeros(2, 3, 4, 5)).axes == "b h w d"


def test_streams_of_one_shape_are_told_apart_by_what_they_are_closest_to():
    other = torch.randn_like(H)
    noise = 0.3 * torch.randn_like(H)
    assert found({"x": H, "text": other}, (other + noise, 3 * H + noise)).returns == ("text", "x")
    assert found({"x": H, "text": other}, (H + noise, other - noise)).returns == ("x", "text")


def test_a_tuple_of_one_stays_a_tuple():
    assert found({"x": H}, (H + 1,)).tupled
    assert not found({"x": H}, H + 1).tupled


@pytest.mark.parametrize(
    ("args", "out"),
    [
        ({"x": H}, NamedTuple("Out", [("x", torch.Tensor)])(H)),
        ({"x": H}, H[:, 1:]),
        ({"x": H, "text": TEXT}, TEXT),  # the first tensor is not among them
        ({"x": H}, (H, H[:, :1])),
        ({"x": H}, (H, 3)),
        ({"x": H[:1]}, H[:1]),  # another batch
        ({"x": H[0]}, H[0]),
        ({"x": H}, (H, H)),
        ({}, None),
    ],
)
def test_blocks_that_do_something_else_are_not_made_out(args, out):
    assert found(args, out) is None


def test_results_are_told_apart_on_devices_without_double_precision(monkeypatch):
    def refuse(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(torch.Tensor, "double", refuse)
    assert found({"x": H, "text": TEXT}, (TEXT + 1, H + 1)).returns == ("text", "x")

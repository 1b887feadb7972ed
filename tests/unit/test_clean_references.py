"""Reference pictures that are modulated as if no noise were left in them, while only some tokens are computed."""

import importlib
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from fastcache_core.adapters.attention import OVERRIDE
from fastcache_core.adapters.rows import comes_twice, gather_per_token, moved
from fastcache_core.tokens import Span

from .schemas import PACK, pack

pack()

adapters = importlib.import_module(f"{PACK}.fastcache_core.adapters.family")
blocks = importlib.import_module(f"{PACK}.nodes.blocks")
core = importlib.import_module(f"{PACK}.fastcache_core")

SIGMAS = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.0]
SAMPLES, IMAGE, REFERENCES, WIDTH = 2, 6, 3, 4
ALL, INDEX, RANGES = IMAGE + REFERENCES, IMAGE, [(0, IMAGE, 0), (IMAGE, IMAGE + REFERENCES, 1)]


@pytest.mark.parametrize("resting", [False, True])
def test_a_place_is_behind_the_rows_that_are_computed_before_it(resting):
    span, active = Span(2, 6, 11, references=3), torch.tensor([[0, 2], [1, 3]])
    rows = span.rows(active, resting)
    for place in (0, 1, 2, 6, 7, 9, 10, 11):
        assert (rows < place).sum(dim=1).tolist() == [span.place(place, 2, resting)] * 2


def test_a_place_within_the_image_is_another_one_in_every_sample():
    for place in (3, 5):
        with pytest.raises(ValueError, match="within the image's tokens, which are 2 to 6"):
            Span(2, 6, 9).place(place, active=2)


def test_an_index_and_ranges_are_moved_as_they_are():
    assert moved(6, lambda place: place - 4) == 2
    assert moved([[6, 9]], lambda place: place - 4) == [(2, 5)]
    assert moved([(4, 6, 0), (6, None, 1)], lambda place: place - 4) == [(0, 2, 0), (2, None, 1)]


def test_only_of_modulations_that_go_by_place_do_two_stay():
    rows, two = torch.tensor([[3, 0, 2], [1, 1, 3]]), torch.randn(2, 2, WIDTH)
    assert gather_per_token(two, 1, rows, 4, by_place=True) is two
    assert gather_per_token(two, 1, rows, 4).shape == (2, 3, WIDTH)  # of two frames
    assert comes_twice(two, 1, 2) and comes_twice(two[:1], 1, 2) and comes_twice(torch.randn(4, WIDTH), 1, 2)
    for once in (torch.randn(2, 1, WIDTH), torch.randn(2, WIDTH), torch.randn(2, 4, WIDTH), torch.randn(4, 2, WIDTH)):
        assert not comes_twice(once, 1, 2)


def attend(q, k, v, heads):
    return nn.functional.scaled_dot_product_attention(q, k, v)


class Block(nn.Module):
    """x += attention(x * scale), with one scale for what is noisy and another for what is clean."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def forward(self, img, vec, places, transformer_options):
        self.rows.append(img.shape[1])
        scale = torch.empty_like(img)
        if isinstance(places, int):
            noisy, clean = vec.chunk(2)
            scale[:, :places], scale[:, places:] = noisy[:, None], clean[:, None]
        else:
            for start, stop, entry in places:
                scale[:, start:stop] = vec[:, entry : entry + 1]
        h = img * scale
        override = transformer_options.get(OVERRIDE, lambda attention, *args: attention(*args))
        return img + override(attend, h, h, h, 1)


class Model(nn.Module):
    """A block that is reached by its forward, or by a patch that is not given the places."""

    def __init__(self, key, places):
        super().__init__()
        self.blocks, self.key, self.places = nn.ModuleList([Block()]), key, places
        generator = torch.Generator().manual_seed(3)
        self.vec = torch.randn(SAMPLES, 2, WIDTH, generator=generator)
        self.img = torch.randn(SAMPLES, ALL, WIDTH, generator=generator)
        if isinstance(places, int):
            self.vec = self.vec.transpose(0, 1).flatten(0, 1)

    def forward(self, patches):
        block, img, vec = self.blocks[0], self.img.clone(), self.vec
        if not patches:
            return block(img, vec, self.places, {})
        original = {"original_block": lambda args: {"img": block(places=self.places, **args)}}
        return patches[self.key, 0]({"img": img, "vec": vec, "transformer_options": {}}, original)["img"]


def sampled(key, told, **changes):
    """Pictures, one an evaluation, of a state that stands still; half of its tokens are computed after the warm-up."""
    model = Model(key, told)
    lists = (adapters.BlockList("blocks", ("img",), key=key),)
    family = adapters.Family("toy", (), lists, lambda model, shape: (1, 1, IMAGE), per_token={"vec": 1})
    family = replace(family, **{"places": ("places",), "references": True, **changes})
    config = core.FastCacheConfig(
        core.BlockCacheConfig(0.0, rule="change", warmup_evaluations=2, min_steps=1, level="block"),
        core.TokenSelectorConfig(1e-3, min_active=0.5, max_active=0.5, refresh_interval=2, warmup_evaluations=2),
    )
    run = core.Run(config, ["block 0"], [(0, 0)], SIGMAS)
    reach, patches, pictures = blocks.Blocks(run, family, model, nullcontext), {}, []
    reach.patch_all(patches)
    for sigma in SIGMAS[:-1]:
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        reach.begin_call((SAMPLES,))
        with reach.reached():
            pictures.append(model(patches)[:, :IMAGE])
        run.end_evaluation()
    return model, run, pictures


ROUTES = pytest.mark.parametrize("key", ["block", None])


@ROUTES
@pytest.mark.parametrize("places", [INDEX, RANGES])
def test_each_token_has_its_own_modulation_whether_references_rest_or_not(key, places):
    model, _, pictures = sampled(key, places)
    half = IMAGE // 2
    assert model.blocks[0].rows == [ALL, ALL, half, half, half + REFERENCES, half, ALL]
    assert "forward" not in vars(model.blocks[0])
    wanted = model({})[:, :IMAGE]
    for picture in pictures:
        torch.testing.assert_close(picture, wanted, rtol=1e-5, atol=1e-5)


@ROUTES
@pytest.mark.parametrize("changes", [{"references": False, "grid": lambda model, shape: (1, 1, ALL)}, {"places": ()}])
def test_tokens_are_not_selected_where_places_are_not_known(key, changes):
    model, run, _ = sampled(key, INDEX, **changes)
    assert set(model.blocks[0].rows) == {ALL}
    assert any(note.startswith("Tokens are not selected: ") for note in run.report.notes)


def test_what_comes_twice_and_goes_by_no_known_place_is_no_reason_for_a_wrong_picture():
    assert set(sampled(None, INDEX, places=("renamed",))[0].blocks[0].rows) == {ALL}
    _, run, _ = sampled("block", INDEX, places=("renamed",))
    assert any("nothing known tells for which tokens. Set token_threshold to 0" in note for note in run.report.notes)

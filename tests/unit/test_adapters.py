from dataclasses import dataclass

import pytest
import torch
from torch import nn

from fastcache_core.adapters import FAMILIES, find_family
from fastcache_core.adapters.family import (
    OVERRIDE,
    Layout,
    as_4d,
    attend_through,
    gather_mask,
    gather_modulation,
    gather_positions,
    modulations,
    why_no_tokens,
)
from fastcache_core.adapters.flux import FLUX
from fastcache_core.adapters.hunyuan_video import HUNYUAN_VIDEO
from fastcache_core.calls import Attending


def model_of(name, doubles=2, singles=3, **attributes):
    module, _, qualified = name.rpartition(".")
    model = type(qualified, (nn.Module,), {"__module__": module})()
    model.double_blocks = nn.ModuleList(nn.Identity() for _ in range(doubles))
    model.single_blocks = nn.ModuleList(nn.Identity() for _ in range(singles))
    for key, value in attributes.items():
        setattr(model, key, value)
    return model


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_found_by_its_class_and_its_subclasses(family):
    model = model_of(family.classes[0])
    child = type("Child", (type(model),), {"__module__": "somewhere.else"})()
    assert find_family(model) is family
    assert find_family(child) is family


def test_other_models_have_no_family():
    assert find_family(model_of("comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel")) is None


def test_blocks_and_ranges_cover_all_lists_in_order():
    model = model_of("comfy.ldm.flux.model.Flux")
    assert [name for _, _, name in FLUX.blocks(model)] == ["double 0", "double 1", "single 0", "single 1", "single 2"]
    assert FLUX.ranges(model) == [(0, 1), (2, 4)]
    assert FLUX.ranges(model_of("comfy.ldm.flux.model.Flux", singles=0)) == [(0, 1)]


def layout(family, model, shape, image, text):
    return Layout.read(family, model, shape, {"img": torch.zeros(1, image, 8), "txt": torch.zeros(1, text, 8)})


def test_flux_puts_text_first_and_reference_tokens_last():
    found = layout(FLUX, model_of("x.Flux", patch_size=2), (1, 16, 8, 12), image=24 + 10, text=7)
    assert found.grid == (1, 4, 6)
    stream, sequence = found.spans(FLUX, joint=False)
    assert tuple(stream) == (0, 24, 34)
    assert tuple(sequence) == (7, 31, 41)
    assert found.spans(FLUX, joint=True) == (sequence, sequence)


@pytest.mark.parametrize(("flag", "start"), [(True, 5), (False, 9)])
def test_hunyuan_puts_its_reference_first_and_the_image_where_the_host_does(flag, start):
    model = model_of("x.HunyuanVideo", patch_size=[1, 2, 2])
    model.double_blocks[0].flipped_img_txt = flag
    found = layout(HUNYUAN_VIDEO, model, (1, 16, 3, 4, 8), image=24 + 5, text=4)
    assert found.grid == (3, 2, 4)
    stream, sequence = found.spans(HUNYUAN_VIDEO, joint=False)
    assert tuple(stream) == (5, 29, 29)
    assert tuple(sequence) == (start, start + 24, 33)


def test_a_grid_that_the_tokens_do_not_fill_gives_way_to_a_row():
    found = layout(FLUX, model_of("x.Flux", patch_size=2), (1, 16, 8, 12), image=10, text=7)
    assert found.grid == (1, 1, 10)


@pytest.mark.parametrize("batch", [1, 2])
def test_positions_are_gathered_per_sample(batch):
    table = torch.arange(batch * 5 * 4.0).reshape(batch, 1, 5, 2, 2)
    rows = torch.tensor([[4, 0, 2], [1, 1, 3]])
    gathered = gather_positions(table, rows)
    assert gathered.shape == (2 if batch == 2 else 2, 1, 3, 2, 2)
    for i in range(2):
        assert torch.equal(gathered[i, 0], table[min(i, batch - 1), 0, rows[i]])


DOUBLE, SINGLE = FLUX.lists


def arguments(**more):
    return {"img": torch.zeros(2, 18, 4), "txt": torch.zeros(2, 3, 4), "transformer_options": {}, **more}


def test_tokens_are_refused_with_a_reason_where_it_would_be_unsafe():
    assert why_no_tokens(HUNYUAN_VIDEO, SINGLE, arguments()) is None
    assert why_no_tokens(HUNYUAN_VIDEO, SINGLE, arguments(attention_mask=torch.zeros(1, 1, 18))) is None
    odd = arguments(attention_mask=torch.zeros(5, 18, 18))
    assert "(5, 18, 18), which is not known" in why_no_tokens(HUNYUAN_VIDEO, SINGLE, odd)
    ranges = arguments(modulation_dims_img=[(0, None, 1)])
    assert "modulations" in why_no_tokens(HUNYUAN_VIDEO, SINGLE, ranges)
    patched = arguments(transformer_options={"patches": {"attn1_patch": [print]}})
    assert "another patch" in why_no_tokens(HUNYUAN_VIDEO, SINGLE, patched)
    per_token = arguments(vec=torch.zeros(2, 18, 4))
    assert why_no_tokens(FLUX, SINGLE, per_token) is None
    assert "modulations" in why_no_tokens(FLUX, DOUBLE, per_token)  # which of the two streams is it for?
    assert "modulations" in why_no_tokens(FLUX, SINGLE, arguments(vec=torch.zeros(2, 7, 4)))


@dataclass
class Modulation:
    shift: torch.Tensor
    scale: torch.Tensor


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: (t, t), lambda t: [t], lambda t: Modulation(t, t)])
def test_modulations_are_gathered_with_the_tokens(wrap):
    vec, rows = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3), torch.tensor([[4, 0], [1, 3]])
    gathered = modulations(gather_modulation(wrap(vec), rows))
    assert len(gathered) == len(modulations(wrap(vec)))
    assert all(torch.equal(part, torch.stack([vec[0, [4, 0]], vec[1, [1, 3]]])) for part in gathered)
    shared = torch.zeros(2, 1, 3)
    assert gather_modulation(shared, rows) is shared


MASKS = [(5,), (2, 5), (5, 5), (2, 1, 5), (2, 5, 5), (1, 5, 5), (2, 3, 5, 5), (1, 1, 1, 5)]


@pytest.mark.parametrize("shape", MASKS)
@pytest.mark.parametrize("keys", [False, True])
def test_attention_under_a_gathered_mask_is_that_of_the_rows(shape, keys):
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 5, 4, generator=generator)  # 2 samples, 3 heads, 5 tokens
    mask, rows = torch.randn(shape, generator=generator), torch.tensor([[4, 0], [1, 3]])
    attend = torch.nn.functional.scaled_dot_product_attention
    cut = as_4d(gather_mask(mask, rows, keys)).expand(2, -1, -1, -1)
    for i in range(2):
        full, here = as_4d(mask).expand(2, -1, -1, -1)[i : i + 1], rows[i]
        some = here if keys else torch.arange(5)
        full = full.expand(-1, -1, 5, -1)[:, :, here][..., some]
        wanted = attend(q[i : i + 1, :, here], k[i : i + 1, :, some], v[i : i + 1, :, some], full)
        got = attend(
            q[i : i + 1, :, here],
            k[i : i + 1, :, some],
            v[i : i + 1, :, some],
            cut[i : i + 1],
        )
        torch.testing.assert_close(got, wanted)


def test_an_earlier_attention_override_still_runs_and_sees_every_key():
    seen = []

    def earlier(attention, q, k, v, heads, **kwargs):
        seen.append(k.shape[2])
        return attention(q, k, v, heads, **kwargs)

    def attention(q, k, v, heads, **kwargs):
        return q, k, v, heads, kwargs

    everything = torch.zeros(1, 1, 9, 4)
    options = {OVERRIDE: earlier, "other": 1}
    served = attend_through(options, Attending(torch.tensor([[0]]), serve=lambda k, v: (everything, everything)))
    out = served[OVERRIDE](attention, *[torch.zeros(1, 1, 2, 4)] * 3, 8, mask=None)
    assert seen == [9] and out[1] is everything and out[3:] == (8, {"mask": None})
    assert served["other"] == 1 and options[OVERRIDE] is earlier

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fastcache_core import adapters
from fastcache_core.adapters import FAMILIES, find_family
from fastcache_core.adapters.attention import OVERRIDE, attend_through
from fastcache_core.adapters.family import BlockList, Layout
from fastcache_core.adapters.flux import FLUX
from fastcache_core.adapters.hidream import HIDREAM
from fastcache_core.adapters.hunyuan_video import HUNYUAN_VIDEO
from fastcache_core.adapters.krea2 import KREA2
from fastcache_core.adapters.ltxav import LTXAV
from fastcache_core.adapters.ltxv import LTXV
from fastcache_core.adapters.lumina import LUMINA
from fastcache_core.adapters.reach import block_call, why_no_tokens
from fastcache_core.adapters.rows import as_4d, gather_mask, gather_per_token, tensors_of
from fastcache_core.calls import Attending, BlockCall
from fastcache_core.tokens import Span


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


def layout(family, model, shape, image):
    return Layout.read(family, model, shape, torch.zeros(1, image, 8), {})


def test_flux_puts_text_first_and_reference_tokens_last():
    found = layout(FLUX, model_of("x.Flux", patch_size=2), (1, 16, 8, 12), image=24 + 10)
    assert found.grid == (1, 4, 6)
    stream, sequence = found.spans(False, 34, 7)
    assert tuple(stream) == (0, 24, 34, 10)
    assert tuple(sequence) == (7, 31, 41, 10)
    assert found.spans(True, 41, 0) == (sequence, sequence)


@pytest.mark.parametrize(("flag", "start"), [(True, 5), (False, 9)])
def test_hunyuan_puts_its_reference_first_and_the_image_where_the_host_does(flag, start):
    model = model_of("x.HunyuanVideo", patch_size=[1, 2, 2])
    model.double_blocks[0].flipped_img_txt = flag
    found = layout(HUNYUAN_VIDEO, model, (1, 16, 3, 4, 8), image=24 + 5)
    assert found.grid == (3, 2, 4)
    stream, sequence = found.spans(False, 29, 4)
    assert tuple(stream)[:3] == (5, 29, 29)
    assert tuple(sequence)[:3] == (start, start + 24, 33)
    assert found.spans(True, 33, 0) == (sequence, sequence)


@pytest.mark.parametrize(("multiple", "start"), [(None, 16), (32, 8)])
def test_lumina_puts_text_first_in_its_one_stream_and_pads_the_image(multiple, start):
    model = model_of("x.NextDiT", patch_size=2, pad_tokens_multiple=multiple)
    found = layout(LUMINA, model, (1, 16, 8, 12), image=40)
    assert found.spans(True, 40, 0) == (Span(start, start + 24, 40), Span(start, start + 24, 40))


def test_frames_and_references_behind_lumina_s_first_picture_count_as_the_image():
    model = model_of("x.NextDiT", patch_size=2, pad_tokens_multiple=32)
    assert layout(LUMINA, model, (1, 16, 1, 8, 12), image=40 + 32).grid == (1, 1, 72)


def test_a_grid_that_the_tokens_do_not_fill_gives_way_to_a_row():
    found = layout(FLUX, model_of("x.Flux", patch_size=2), (1, 16, 8, 12), image=10)
    assert found.grid == (1, 1, 10)


def test_a_stream_without_an_axis_of_samples_is_that_of_one_sample():
    block_list, h = BlockList("blocks", ("x",), axes="n d"), torch.randn(24, 4)
    assert torch.equal(block_list.flat(h), h[None])
    assert torch.equal(block_list.unflat(h[None], h), h)


def test_streams_that_come_in_one_argument_have_names_for_the_engine():
    block_list = BlockList("blocks", ("video", "sound"), packed="img")
    args = {"img": (1, 2), "vec": 3}
    apart = block_list.apart(args)
    assert (apart["video"], apart["sound"], apart["vec"]) == (1, 2, 3)
    assert block_list.together(apart) == args
    assert SINGLE.apart(args) is args and SINGLE.together(args) is args


def test_tokens_that_are_not_in_a_row_become_one():
    model = model_of("x.HiDreamImageTransformer2DModel", patch_size=2)
    assert layout(HIDREAM, model, (1, 16, 8, 12), image=24).grid == (1, 4, 6)
    beside = layout(HIDREAM, model, (1, 16, 8, 12), image=48)
    assert beside.grid == (1, 1, 48)
    assert tuple(beside.spans(True, 48 + 5, 0)[0])[:3] == (0, 48, 53)


def test_references_come_behind_the_image_in_krea_s_one_stream():
    model = model_of("x.SingleStreamDiT", patch=2)
    args = {"transformer_options": {"reference_image_num_tokens": [6, 4]}}
    found = Layout.read(KREA2, model, (1, 16, 8, 12), torch.zeros(1, 5 + 24 + 10, 8), args)
    assert found.grid == (1, 4, 6)
    assert tuple(found.spans(True, 39, 0)[0])[:3] == (5, 29, 39)


@pytest.mark.parametrize("axes", ["b n d", "b t h w d", "t h w b d"])
def test_streams_with_several_axes_of_tokens_are_flat_for_the_engine(axes):
    block_list = BlockList("blocks", ("x",), axes=axes)
    h = torch.randn(2, 24, 4)
    shaped = {"b n d": h, "b t h w d": h.reshape(2, 2, 3, 4, 4), "t h w b d": h.reshape(2, 2, 3, 4, 4).movedim(0, 3)}[
        axes
    ]
    assert torch.equal(block_list.flat(shaped), h)
    assert torch.equal(block_list.unflat(h, shaped), shaped)
    for tokens in (5, 24):
        some = block_list.unflat(h[:, :tokens], shaped, chosen=True)
        assert some.ndim == shaped.ndim and tokens in some.shape
        assert torch.equal(block_list.flat(some), h[:, :tokens])


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("axis", [1, 2])
def test_positions_are_gathered_per_sample(batch, axis):
    table = torch.arange(batch * 5 * 4.0).reshape(batch, 5, 1, 2, 2).movedim(1, axis)
    rows = torch.tensor([[4, 0, 2], [1, 1, 3]])
    gathered = gather_per_token(table, axis, rows, 5)
    assert gathered.shape == ((2, 3, 1, 2, 2) if axis == 1 else (2, 1, 3, 2, 2))
    for i in range(2):
        assert torch.equal(gathered[i], table[min(i, batch - 1)].index_select(axis - 1, rows[i]))


def test_positions_that_are_the_same_for_all_samples_get_an_axis_of_these():
    table, rows = torch.randn(5, 3, 2), torch.tensor([[4, 0, 2], [1, 1, 3]])
    assert torch.equal(gather_per_token(table, 0, rows, 5), table[rows])


def test_where_versions_differ_tokens_are_counted_by_the_axis_longer_than_1():
    rows = torch.tensor([[4, 0, 2], [1, 1, 3]])
    older, newer = torch.randn(2, 1, 5, 3, 2), torch.randn(2, 5, 3, 2, 2)
    assert torch.equal(gather_per_token(older, (1, 2), rows, 5), gather_per_token(older, 2, rows, 5))
    assert torch.equal(gather_per_token((newer, False), (1, 2), rows, 5)[0], gather_per_token(newer, 1, rows, 5))


DOUBLE, SINGLE = FLUX.lists
WAN_LIKE = BlockList("blocks", ("img",), key="double_block")


def arguments(**more):
    return {"img": torch.zeros(2, 18, 4), "txt": torch.zeros(2, 3, 4), "transformer_options": {}, **more}


def why(family, block_list, tokens=18, **more):
    return why_no_tokens(family, block_list, arguments(**more), 2, tokens, Span(0, 18, 18))


def test_tokens_are_refused_with_a_reason_where_it_would_be_unsafe():
    assert why(HUNYUAN_VIDEO, SINGLE) is None
    assert why(HUNYUAN_VIDEO, SINGLE, attention_mask=torch.zeros(1, 1, 18)) is None
    assert "modulation_dims_img" in why(HUNYUAN_VIDEO, SINGLE, modulation_dims_img=[(0, None, 1)])
    for name in ("attn1_patch", "attn2_patch"):
        assert "another patch" in why(FLUX, SINGLE, transformer_options={"patches": {name: [print]}})
    without = {"img": torch.zeros(2, 18, 4)}
    for args in (without, without | {"transformer_options": None}):
        assert "ComfyUI's options" in why_no_tokens(FLUX, SINGLE, args, 2, 18, Span(0, 18, 18))


def test_ltx_2_says_where_its_attention_or_modulations_are_other_than_usual():
    def reason(frames=1, **options):
        times = dict.fromkeys(("v_timestep", "v_cross_scale_shift_timestep"), SimpleNamespace(num_frames=1))
        times["v_cross_gate_timestep"] = SimpleNamespace(num_frames=frames)
        args = {"video": torch.zeros(2, 18, 4), "transformer_options": options, **times}
        return why_no_tokens(LTXAV, LTXAV.lists[0], args, 2, 20, Span(0, 18, 18))

    assert reason() is None and reason(run_ax=True) is None
    assert "left out" in reason(v2a_cross_attn=False) and "left out" in reason(stg_skip_self_attn=True)
    assert "modulations" in reason(frames=2)
    assert (
        why_no_tokens(LTXAV, LTXAV.lists[0], {"transformer_options": {}}, 2, 20, Span(0, 18, 18)) is None
    )  # another version's
    args = {"img": torch.zeros(2, 18, 4), "transformer_options": {"stg_skip_self_attn": True}}
    assert "left out" in why_no_tokens(LTXV, LTXV.lists[0], args, 2, 18, Span(0, 18, 18))


@pytest.mark.parametrize(("tokens", "seen"), [(None, 3), (2, 2), (256, 3)])
def test_text_that_attention_does_not_see_is_not_in_its_sequence(tokens, seen):
    family = replace(FLUX, text_seen="num_tokens")
    args = arguments() | ({} if tokens is None else {"num_tokens": tokens})
    call = block_call(family, DOUBLE, 0, Layout((1, 3, 6), 0, 18, False), args, dict)
    assert call.sequence == Span(seen, seen + 18, seen + 18)


def test_modulations_that_do_not_go_with_the_tokens_are_refused():
    assert why(FLUX, SINGLE, vec=torch.zeros(2, 18, 4)) is None
    assert why(FLUX, SINGLE, vec=torch.zeros(2, 1, 4)) is None
    assert "(2, 7, 4)" in why(FLUX, SINGLE, vec=torch.zeros(2, 7, 4))
    assert "(4, 18, 4)" in why(FLUX, SINGLE, vec=torch.zeros(4, 18, 4))
    # Of image and text apart: which of the two streams is it for?
    assert "(2, 18, 4)" in why(FLUX, DOUBLE, tokens=21, vec=torch.zeros(2, 18, 4))
    of_image = replace(FLUX, per_token={}, per_stream_token={"vec": 1})
    assert why(of_image, DOUBLE, tokens=21, vec=torch.zeros(2, 18, 4)) is None
    # One for the image and one for what it refers to, in one batch.
    assert why(FLUX, DOUBLE, tokens=21, vec=torch.zeros(2, 4)) is None
    assert "come twice" in why(FLUX, DOUBLE, tokens=21, vec=torch.zeros(4, 4))
    assert "(6, 4)" in why(FLUX, DOUBLE, tokens=21, vec=torch.zeros(6, 4))
    # One for each of three frames.
    assert why(FLUX, WAN_LIKE, vec=torch.zeros(2, 3, 6, 4)) is None
    assert "(2, 3, 6, 4)" in why(FLUX, SINGLE, vec=torch.zeros(2, 3, 6, 4))


@dataclass
class Modulation:
    shift: torch.Tensor
    scale: torch.Tensor


def test_a_mask_of_keys_is_cut_at_its_last_axis():
    mask = torch.arange(14.0).reshape(2, 1, 1, 7)
    rows = torch.tensor([[0, 4], [6, 1]])
    wanted = torch.tensor([[0.0, 4.0], [13.0, 8.0]]).reshape(2, 1, 1, 2)
    torch.testing.assert_close(gather_per_token(mask, -1, rows, 7), wanted)


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: (t, t), lambda t: [t], lambda t: Modulation(t, t)])
def test_modulations_are_gathered_with_the_tokens(wrap):
    vec, rows = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3), torch.tensor([[4, 0], [1, 3]])
    gathered = tensors_of(gather_per_token(wrap(vec), 1, rows, 5), 1)
    assert len(gathered) == len(tensors_of(wrap(vec), 1))
    assert all(torch.equal(part, torch.stack([vec[0, [4, 0]], vec[1, [1, 3]]])) for part in gathered)
    for shared in (torch.zeros(2, 1, 3), torch.zeros(2, 3), "text", None):
        assert gather_per_token(shared, 1, rows, 5) is shared


@pytest.mark.parametrize("tokens", [6, 7])
def test_a_modulation_for_frames_is_that_of_the_tokens_in_them(tokens):
    vec = torch.arange(2.0)[None, :, None]  # two frames; an odd token at the end has the entry of the last
    rows = torch.tensor([[0, 2, tokens - 1]])
    each = vec.repeat_interleave(-(-tokens // 2), dim=1)
    assert torch.equal(gather_per_token(vec, 1, rows, tokens), each[:, rows[0]])


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


def call_of(attends, image=9, text=0):
    span = Span(0, image, image)
    return BlockCall(0, {}, ("img", span), Span(text, text + image, text + image), lambda s, a: s, attends=attends)


def attention(q, k, v, heads, mask=None, **kwargs):
    return k, mask


def qkv(tokens):
    return [torch.zeros(1, 1, tokens, 4)] * 3


def test_an_earlier_attention_override_still_runs_and_sees_every_key():
    seen = []

    def earlier(attention, q, k, v, heads, **kwargs):
        seen.append((k.shape[2], heads, kwargs))
        return attention(q, k, v, heads, **kwargs)

    everything = torch.zeros(1, 1, 9, 4)
    options = {OVERRIDE: earlier, "other": 1}
    serving = Attending({"sequence": torch.tensor([[0]])}, serve=lambda n, k, v: (everything, everything, None))
    served = attend_through(options, serving, call_of(("sequence",)))
    k, mask = served[OVERRIDE](attention, *qkv(2), 8, mask=None)
    assert seen == [(9, 8, {"mask": None})] and k is everything and mask is None
    assert served["other"] == 1 and options[OVERRIDE] is earlier


def test_attention_calls_of_a_block_are_told_apart_by_their_order():
    kept = []
    keeping = Attending(None, keep=lambda number, k, v, mask: kept.append((number, k.shape[2])))
    override = attend_through({}, keeping, call_of(("others", "sequence", "stream"), text=3))[OVERRIDE]
    for tokens in (5, 12, 9, 5):
        assert override(attention, *qkv(tokens), 8, skip_reshape=True)[0].shape[2] == tokens
    assert kept == [(1, 12), (2, 9)]


def test_keys_and_values_are_kept_alike_whether_heads_are_apart_or_not():
    kept = []
    keeping = Attending(None, keep=lambda number, k, v, mask: kept.append((k.shape, v.shape)))
    together, apart = torch.zeros(1, 5, 8), torch.zeros(1, 5, 2, 4)
    attend_through({}, keeping, call_of(("sequence",)))[OVERRIDE](attention, together, together, apart, 2)
    assert kept == [((1, 5, 8), (1, 5, 8))]


def test_masks_are_cut_to_the_rows_or_those_kept_take_their_place():
    rows, whole = torch.tensor([[4, 0, 2]]), torch.zeros(1, 1, 9, 4)
    padding = torch.arange(9.0)[None, None, None]
    serving = Attending({"sequence": rows}, serve=lambda n, k, v: (whole, whole, padding))
    square = torch.arange(81.0).reshape(9, 9)

    def masked(attending, *args, **kwargs):
        override = attend_through({}, attending, call_of(("sequence",)))[OVERRIDE]
        return override(attention, *qkv(3), 8, *args, **kwargs)[1]

    assert torch.equal(masked(serving, square)[0, 0], square[rows[0]])
    assert torch.equal(masked(serving, mask=square)[0, 0], square[rows[0]])
    assert masked(serving, mask=padding) is padding
    made_of_three = torch.zeros(1, 1, 3)
    assert masked(serving, mask=made_of_three) is padding
    alone = Attending({"sequence": rows})
    assert torch.equal(masked(alone, square)[0, 0], square[rows[0]][:, rows[0]])
    assert masked(alone, made_of_three) is made_of_three
    unknown = Attending({"sequence": rows}, serve=lambda n, k, v: (whole, whole, None))
    with pytest.raises(RuntimeError, match="Set token_threshold to 0"):
        masked(unknown, made_of_three)


def test_a_mask_of_keys_is_kept_with_them_and_an_odd_one_keeps_them_from_being_kept():
    kept = []
    keeping = Attending(None, keep=lambda number, k, v, mask: kept.append(mask))
    for mask in (None, torch.ones(1, 9), torch.ones(9, 9), torch.ones(5, 9, 9)):
        attend_through({}, keeping, call_of(("sequence",)))[OVERRIDE](attention, *qkv(9), 8, mask)
    assert kept[0] is None and kept[1].shape == (1, 1, 1, 9) and kept[2] is None and len(kept) == 3


def test_names_and_classes_of_families_are_their_own():
    names = [family.name for family in FAMILIES]
    classes = [cls for family in FAMILIES for cls in family.classes]
    assert len(set(names)) == len(names) and len(set(classes)) == len(classes)


def test_a_family_takes_at_most_sixty_lines():
    folder = Path(adapters.__file__).parent
    machinery = {"__init__", "attention", "family", "reach", "rows", "unknown"}
    declarations = [path for path in folder.glob("*.py") if path.stem not in machinery]
    assert len(declarations) > 20
    assert max(len(path.read_text(encoding="utf-8").splitlines()) for path in declarations) <= 60

"""The level `sublayer` on a toy transformer whose arithmetic is spelled out: what FORA does, and nothing else."""

import importlib
import re
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

from fastcache_core.adapters import FAMILIES
from fastcache_core.config import BlockCacheConfig

from .schemas import PACK, ROOT, pack

pack()

adapters = importlib.import_module(f"{PACK}.fastcache_core.adapters.family")
core = importlib.import_module(f"{PACK}.fastcache_core")
layers = importlib.import_module(f"{PACK}.fastcache_core.adapters.sublayers")
sublayers = importlib.import_module(f"{PACK}.nodes.sublayers")

STEPS, WIDTH, TEXT = 9, 8, 3
SIGMAS = torch.linspace(1, 0, STEPS + 1).tolist()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x, transformer_options=None):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return nn.functional.scaled_dot_product_attention(q, k, v)


class Joint(Attention):
    """Of two streams, which come back the other way round."""

    def forward(self, txt, img, transformer_options=None):
        y = super().forward(torch.cat([txt, img], dim=1))
        return y[:, : txt.shape[1]], y[:, txt.shape[1] :]


class Block(nn.Module):
    """x += gate(t) * attn(modulated(x, t)), x += gate(t) * mlp(modulated(x, t)), like DiT's, in place like LTX's."""

    def __init__(self):
        super().__init__()
        self.attn, self.mlp = Attention(), nn.Linear(WIDTH, WIDTH)
        self.modulation = nn.Parameter(torch.randn(6, WIDTH))

    def forward(self, x, t):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation * t
        x = x + gate1 * self.attn(x * (1 + scale1) + shift1)
        y = self.mlp(x * (1 + scale2) + shift2)
        return x + y.mul_(gate2)  # what it was given back is its own


class DiT(nn.Module):
    def __init__(self, block=Block, depth=3):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(block() for _ in range(depth))

    def forward(self, x, t):
        for block in self.blocks:
            x = block(x, t)
        return x


TWO = (layers.SubLayer("attn", layers.ATTENTION), layers.SubLayer("mlp", layers.MLP))


def family_of(sub=TWO, streams=("x",)):
    return adapters.Family(
        "toy", (), (adapters.BlockList("blocks", streams, sublayers=sub),), lambda model, shape: (1, 1, 6)
    )


def make_run(model, family, **block_cache):
    settings = {"rule": "interval", "predictor": "reuse", "warmup_evaluations": 1, "min_steps": 1, **block_cache}
    config = core.FastCacheConfig(core.BlockCacheConfig(level="sublayer", **settings))
    parts = family.parts(model)
    run = core.Run(config, [part.name for part in parts], adapters.kinds_of(parts), SIGMAS, joined=False)
    return run, sublayers.Sublayers(run, family, model, nullcontext)


@contextmanager
def one_evaluation(run, reach, sigma, rows):
    """An evaluation of one conditioning, in which the model's modules go through the engine."""
    run.begin_evaluation(sigma)
    run.begin_call(["cond"])
    reach.begin_call((rows,))
    with reach.reached():
        yield
    run.end_evaluation()


@torch.no_grad()
def sample(model, states, run=None, reach=None, calls=(("cond",),)):
    """What the model makes of these states, one an evaluation; every inner sequence of calls is one batch."""
    results = []
    for x, sigma in zip(states, SIGMAS, strict=False):
        if run is None:
            results.append(model(x, sigma))
            continue
        run.begin_evaluation(sigma)
        for keys in calls:
            run.begin_call(keys)
            reach.begin_call((len(keys) * len(x),))
            with reach.reached():
                out = model(torch.cat([x] * len(keys)), sigma)
        results.append(out[: len(x)])
        run.end_evaluation()
    return results


@torch.no_grad()
def fora(model, states, interval):
    """FORA (arXiv 2407.01425), algorithm 1, with the last evaluation computed: attention and MLP before the gate."""
    cache, results = {}, []
    for t, (x, sigma) in enumerate(zip(states, SIGMAS, strict=False)):
        for i, block in enumerate(model.blocks):
            shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation * sigma
            if t % interval == 0 or t == STEPS - 1:
                cache[i, "attn"] = block.attn(x * (1 + scale1) + shift1)
            x = x + gate1 * cache[i, "attn"]
            if t % interval == 0 or t == STEPS - 1:
                cache[i, "mlp"] = block.mlp(x * (1 + scale2) + shift2)
            x = x + gate2 * cache[i, "mlp"]
        results.append(x)
    return results


def states(samples=2, seed=1, drift=0.05):
    generator = torch.Generator().manual_seed(seed)
    first, then = torch.randn(2, samples, 6, WIDTH, generator=generator)
    return [first + drift * i * then for i in range(STEPS)]


def untouched(model):
    return not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("interval", [2, 3])
def test_an_interval_at_this_level_is_fora(interval):
    model = DiT()
    run, reach = make_run(model, family_of(), interval=interval)
    got = sample(model, states(), run, reach)
    for one, wanted in zip(got, fora(model, states(), interval), strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-5, atol=1e-5)
    report = run.report.to_json()
    assert report["blocks"] == [f"{kind} {i}" for kind in ("attention", "mlp") for i in range(3)]
    assert [row[0] for row in report["computed"]] == [t % interval == 0 or t == STEPS - 1 for t in range(STEPS)]
    assert all(len(set(row)) == 1 for row in report["computed"])
    assert untouched(model)


def test_work_is_that_of_projections_attention_and_mlp():
    model = DiT(depth=1)
    run, reach = make_run(model, family_of(), interval=2)
    sample(model, states(), run, reach)
    attention, mlp = run.report.to_json()["work"]
    assert attention / mlp == pytest.approx((8 * WIDTH + 4 * 6) / (16 * WIDTH), rel=1e-3)


def test_while_nothing_is_skipped_nothing_changes():
    model = DiT()
    run, reach = make_run(model, family_of(), rule="change", threshold=1e-9)
    got = sample(model, states(), run, reach)
    assert all(torch.equal(one, wanted) for one, wanted in zip(got, sample(model, states()), strict=True))
    assert run.report.computed_fraction == 1


def test_a_change_is_that_of_what_the_first_attention_is_given():
    model = DiT()
    run, reach = make_run(model, family_of(), rule="change", threshold=1e-9)
    sample(model, states(), run, reach)
    shift, scale, *_ = model.blocks[0].modulation.detach()
    first, second = (x * (1 + scale * sigma) + shift * sigma for x, sigma in zip(states()[:2], SIGMAS, strict=False))
    change = ((second - first).norm(dim=(1, 2)) / first.norm(dim=(1, 2))).amax().item()
    assert run.report.to_json()["step"][1] == pytest.approx(change, rel=1e-4)


def test_branches_are_themselves_in_one_batch_and_in_several():
    model = DiT()
    together, apart = make_run(model, family_of(), interval=3), make_run(model, family_of(), interval=3)
    one = sample(model, states(), *together, calls=(("a", "b"),))
    two = sample(model, states(), *apart, calls=(("a",), ("b",)))
    for got, wanted in zip(one, two, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


class JointBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn, self.img_mlp, self.txt_mlp = Joint(), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, t):
        txt, img = x.split([TEXT, x.shape[1] - TEXT], dim=1)
        txt_y, img_y = self.attn(txt * t, img=img)
        txt, img = txt + t * txt_y, img + t * img_y
        return torch.cat([txt + t * self.txt_mlp(txt), img + t * self.img_mlp(img)], dim=1)


JOINT = (
    layers.SubLayer("attn", layers.ATTENTION, streams=("img", "txt"), returns=("txt", "img")),
    layers.SubLayer("img_mlp", layers.MLP),
    layers.SubLayer("txt_mlp", layers.TEXT_MLP),
)


def test_two_streams_come_back_as_they_would_have():
    model = DiT(JointBlock)
    run, reach = make_run(model, family_of(JOINT, ("img", "txt")), interval=9)
    resting = [torch.cat([torch.ones(1, TEXT, WIDTH), x[:1]], dim=1) for x in [states()[0]] * STEPS]
    still = [SIGMAS[0]] * STEPS
    with torch.no_grad():
        wanted = model(resting[0], still[0])
        for x in resting[:4]:
            with one_evaluation(run, reach, SIGMAS[0], rows=1):
                out = model(x, still[0])
            torch.testing.assert_close(out, wanted, rtol=1e-5, atol=1e-5)
    computed = run.report.to_json()["computed"]
    assert computed[0] == [1] * 9 and computed[-1] == [0] * 9


class Narrow(nn.Linear):
    """Returns another dtype than it is given, and another width."""

    def forward(self, x):
        return super().forward(x)[..., :4].to(torch.bfloat16)


class Shorter(nn.Linear):
    def forward(self, x):
        return super().forward(x)[:, :1]


class OtherBlock(Block):
    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp(WIDTH, WIDTH)

    def forward(self, x, t):
        x = x + t * self.attn(x)
        return x + self.mlp(x).float().mean()


def test_what_is_predicted_has_the_dtype_and_width_of_what_was_computed():
    model, seen = DiT(lambda: OtherBlock(Narrow), depth=1), []
    run, reach = make_run(model, family_of(), interval=4)
    with torch.no_grad():
        for x, sigma in zip(states(), SIGMAS, strict=False):
            with one_evaluation(run, reach, sigma, rows=2):
                seen.append(model.blocks[0].mlp(x))
    assert {(y.dtype, y.shape) for y in seen} == {(torch.bfloat16, (2, 6, 4))}
    assert any(row[1] == 0 for row in run.report.to_json()["computed"])


def test_a_module_that_returns_something_else_is_left_alone_with_a_note():
    model = DiT(lambda: OtherBlock(Shorter))
    run, reach = make_run(model, family_of(), interval=3)
    got = sample(model, [states()[0]] * STEPS, run, reach)
    assert "The sub-layers mlp do not return one result for each token; they are left alone." in run.report.notes
    assert 0 < run.report.computed_fraction < 1
    assert all(one.isfinite().all() for one in got)


def test_a_module_that_is_given_part_of_the_batch_is_left_alone_with_a_note():
    model = DiT()
    run, reach = make_run(model, family_of(), interval=3)
    plain = sample(model, states())
    with torch.no_grad():
        for x, sigma, wanted in zip(states(), SIGMAS, plain, strict=False):
            with one_evaluation(run, reach, sigma, rows=2):
                out = torch.cat([model(row, sigma) for row in x.split(1)])
            torch.testing.assert_close(out, wanted, rtol=1e-5, atol=1e-5)
    assert "The sub-layers attention see 1 rows of a batch of 2; they are left alone." in run.report.notes


def test_attention_in_which_another_patch_is_at_work_is_left_alone_with_a_note():
    model = DiT(depth=1)
    run, reach = make_run(model, family_of(), interval=3)
    patched = {"patches": {"attn1_patch": [lambda q, k, v: None]}}
    with torch.no_grad():
        for x, sigma in zip(states(), SIGMAS, strict=False):
            with one_evaluation(run, reach, sigma, rows=2):
                out = model.blocks[0].attn(x, transformer_options=patched)
            assert torch.equal(out, model.blocks[0].attn(x))
    (note, *_) = run.report.notes
    assert note == "The sub-layers attention have another patch at work in them (attn1_patch); they are left alone."


def test_blocks_that_were_compiled_whole_are_left_as_they_are():
    model, plain = DiT(), sample(DiT(), states())
    model.blocks[1] = torch.compile(model.blocks[1], backend="eager")
    run, reach = make_run(model, family_of(), interval=3)
    with reach.reached():
        assert ["forward" in vars(block.mlp) for block in model.blocks] == [True, False, True]
    got = sample(model, states(), run, reach)
    assert run.report.computed_fraction < 1
    torch.testing.assert_close(got[0], plain[0], rtol=1e-5, atol=1e-5)
    assert "are parts of blocks that were compiled whole; they are left alone." in run.report.notes[0]


def test_modules_are_put_back_when_sampling_fails():
    model = DiT()
    run, reach = make_run(model, family_of())
    own = model.blocks[1].mlp.forward = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        sample(model, states(), run, reach)
    assert model.blocks[1].mlp.forward is own
    assert "forward" not in vars(model.blocks[0].mlp)


def test_a_model_has_sub_layers_only_if_all_of_its_blocks_have():
    model = DiT()
    model.others = nn.ModuleList([Block()])
    both = adapters.BlockList("blocks", ("x",), sublayers=TWO), adapters.BlockList("others", ("x",))
    assert adapters.Family("toy", (), both, lambda model, shape: (1, 1, 6)).parts(model) == []
    both = both[0], adapters.BlockList("others", ("x",), sublayers=TWO)
    parts = adapters.Family("toy", (), both, lambda model, shape: (1, 1, 6)).parts(model)
    assert [part.name for part in parts][:4] == [
        "block_attention 0",
        "block_attention 1",
        "block_attention 2",
        "block_mlp 0",
    ]
    assert [part.name for part in parts][-2:] == ["other_attention 0", "other_mlp 0"]
    assert adapters.kinds_of(parts) == [(0, 2), (3, 5), (6, 6), (7, 7)]


@pytest.mark.parametrize("settings", [{"rule": "first_block"}, {"predictor": "linear"}])
def test_what_makes_no_sense_at_this_level_is_refused_with_a_cure(settings):
    with pytest.raises(ValueError, match=r"sub-?layer.*; choose"):
        BlockCacheConfig(level="sublayer", **settings)


def test_where_memory_is_short_it_is_off_and_says_what_keeps_less():
    model = DiT()
    family = family_of()
    parts = family.parts(model)
    config = core.FastCacheConfig(core.BlockCacheConfig(level="sublayer", min_steps=1))
    run = core.Run(
        config,
        [part.name for part in parts],
        adapters.kinds_of(parts),
        SIGMAS,
        memory_budget=lambda: 1000,
        joined=False,
    )
    reach = sublayers.Sublayers(run, family, model, nullcontext)
    got = sample(model, states(), run, reach)
    assert all(torch.equal(one, wanted) for one, wanted in zip(got, sample(model, states()), strict=True))
    assert "the level stack keeps less" in run.report.notes[0]


def test_the_families_with_sub_layers_are_documented():
    names = sorted(family.name for family in FAMILIES if all(block_list.sublayers for block_list in family.lists))
    text = " ".join((ROOT / "docs/families.md").read_text(encoding="utf-8").split())
    listed = re.search(r"before their gate, in the families (.*?): there", text)[1]
    assert re.findall(r"`(\w+)`", listed) == names

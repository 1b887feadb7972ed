"""A whole calibration of a toy model: what is recorded, what is tried, and that the profile is worth it."""

import pytest
import torch

from fastcache_core.calibration import calibrator as module
from fastcache_core.calibration.calibrator import CalibrationError, Calibrator
from fastcache_core.calibration.fits import fit_factors
from fastcache_core.calibration.part_recorder import PartRecorder
from fastcache_core.calibration.recorder import Recorder
from fastcache_core.config import BlockCacheConfig, FastCacheConfig
from fastcache_core.engine import Run
from fastcache_core.masks import mask_of
from fastcache_core.predictors import REUSE
from fastcache_core.profile import Profile

from . import toys

WIDTH, TOKENS, STEPS = 8, 12, 16


def wave(seed):
    """y = h + tanh(h W) / 5 + cos(4 sigma) d: smooth along sigma and in the state, as trained blocks are."""
    weights = torch.randn(WIDTH + 1, WIDTH, generator=torch.Generator().manual_seed(seed)) / WIDTH**0.5

    def block(streams, sigma, attending):
        moved = torch.cos(torch.tensor(4.0 * sigma)) * weights[-1]
        return {name: h + torch.tanh(h @ weights[:-1]) / 5 + moved for name, h in streams.items()}

    return block


BLOCKS = [wave(i) for i in range(4)]
LINEAR = [lambda streams, sigma, attending: {name: 1.5 * h for name, h in streams.items()}] * 4
NAMES = [f"double {i}" for i in range(len(BLOCKS))]
SIGMAS = torch.linspace(1, 0, STEPS + 1).tolist()


def sampled(seed, config, profile=None, recorder=None, stop=STEPS, branches=("cond", "uncond")):
    """Latents of an Euler run over the toy blocks, and its report."""
    x = torch.randn(2, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))
    run = Run(config, NAMES, [(0, 3)], SIGMAS, profile=profile, recorder=recorder)
    for now, then in zip(SIGMAS[:stop], SIGMAS[1:], strict=False):
        out = toys.evaluate(run, BLOCKS, now, x.clone(), [branches])
        x = x + (then - now) * (out["cond"] - x)
    if stop == STEPS:
        run.finish()
    return x, run.report.to_json()


def calibrated(runs=4, target_speedup=2.0, **options):
    calibrator = Calibrator(runs, target_speedup, **options)
    while (trial := calibrator.next()) is not None:
        calibrator.take(trial, sampled(trial.seed, trial.config, trial.profile, trial.recorder)[0])
    return calibrator


@pytest.fixture(scope="module")
def calibrator():
    return calibrated()


def settings(**block_cache):
    return FastCacheConfig(BlockCacheConfig(min_steps=1, **block_cache))


def off_by(config, profile=None):
    """Mean error of final latents on seeds that calibration has not seen, and the work."""
    pairs = [(sampled(seed, settings(rule="interval", interval=1))[0], *sampled(seed, config, profile))
             for seed in range(100, 104)]  # fmt: skip
    return (
        sum(float((x - full).norm() / full.norm()) for full, x, _ in pairs) / len(pairs),
        pairs[0][2]["computed_fraction"],
    )


def test_a_profile_beats_reuse_at_the_work_it_was_made_for(calibrator):
    profile = calibrator.profile("toy", {"steps": STEPS})
    error, work = off_by(settings(rule="schedule"), profile)
    plain, plain_work = off_by(settings(rule="interval", interval=2, predictor="reuse", warmup_evaluations=1))
    assert work == pytest.approx(0.5, abs=0.01)
    assert plain_work >= work
    assert error < 0.6 * plain


def test_what_was_learned_is_told_and_kept(calibrator, tmp_path):
    profile = calibrator.profile("toy", {"steps": STEPS})
    assert profile.changes.shape == (4, STEPS, 8)
    assert len(profile.scores["explained"]) == 4
    assert profile.scores["work"] == 0.5
    profile.save(tmp_path / "toy.safetensors")
    loaded = Profile.load(tmp_path / "toy.safetensors")
    assert loaded.schedule == profile.schedule
    assert sampled(7, settings(rule="schedule"), loaded)[0].equal(sampled(7, settings(rule="schedule"), profile)[0])
    text = " ".join(calibrator.summary())
    assert "16 evaluations of 4 runs" in text
    assert "computes 50% of the work" in text


def test_the_best_of_what_was_tried_is_taken(calibrator):
    tried = [c for c in calibrator._known.values() if c.errors]
    assert len(tried) >= 3
    assert min(sum(c.errors) for c in tried) >= sum(calibrator._best.errors) - 1e-12
    done, most = calibrator.progress
    assert done <= most == 4 + 4 * 2


@pytest.mark.parametrize("whole", [True, False])
def test_neighbours_are_tried_of_what_was_better_the_blocks_or_the_whole_model(whole):
    calibrator = Calibrator(2, 2.0)
    while (trial := calibrator.next()) is not None:
        latents, _ = sampled(
            trial.seed, trial.config, None if trial.recorder is None else trial.profile, trial.recorder
        )
        if trial.recorder is None:
            latents = calibrator.references[trial.seed] * (1.01 if trial.profile.schedule.whole == whole else 1.1)
        calibrator.take(trial, latents)
    masks = [known for known in calibrator._known.values() if known.mask is not None and known.errors]
    assert calibrator.profile("toy").schedule.whole == whole
    assert [known.whole for known in masks].count(not whole) == 1 < len(masks) - 1


def test_a_speedup_out_of_reach_is_told(calibrator):
    assert not any("out of reach" in sentence for sentence in calibrator.summary())
    sentence = "A target_speedup of 12 is out of reach: of 16 evaluations, 2 are computed at least."
    assert sentence in calibrated(2, 12.0).summary()


def test_faster_costs_more():
    errors = [off_by(settings(rule="schedule"), calibrated(2, speed).profile("toy"))[0] for speed in (1.5, 3.0)]
    assert errors[0] < errors[1]


def test_what_is_never_tried_is_not_fitted(monkeypatch):
    fitted = []
    monkeypatch.setattr(module, "fit_factors", lambda *args: fitted.append(args) or fit_factors(*args))
    calibrator = calibrated(2)
    tried = [known for known in calibrator._known.values() if known.errors]
    assert len(fitted) == len([known for known in tried if not known.whole]) and len(tried) < len(calibrator._known)
    assert f"The best of {len(tried) + 1} schedules" in calibrator.summary()[-1]  # and one over blocks


def test_masks_are_found_in_what_changes_however_much_does_not():
    """Squares of what all evaluations have in common are larger than those of changes by more than single precision."""
    searches = []
    for constant in (0.0, 3e3):
        recorder = Recorder(1)
        blocks = [toys.add(constant), *BLOCKS[1:]]
        run = Run(settings(rule="interval", interval=1), NAMES, [(0, 3)], SIGMAS, recorder=recorder)
        for sigma, img in zip(SIGMAS, toys.trajectory(STEPS, tokens=TOKENS, width=WIDTH, speed=0.0), strict=False):
            toys.evaluate(run, blocks, sigma, img - constant)
        run.finish()
        calibrator = Calibrator(1, 2.0)
        calibrator._recorded, calibrator.recorder = 1, recorder
        calibrator.next()
        searches.append(calibrator._search)
    plain, large = searches
    assert plain.cost(large.best(8)) == pytest.approx(plain.cost(plain.best(8)), rel=0.01)


def test_latents_that_are_nan_are_never_the_best():
    calibrator, spoilt = Calibrator(2, 2.0), 0
    while (trial := calibrator.next()) is not None:
        latents = sampled(trial.seed, trial.config, trial.profile, trial.recorder)[0]
        if trial.recorder is None and spoilt < 2:
            latents, spoilt = latents * torch.nan, spoilt + 1
        calibrator.take(trial, latents)
    assert calibrator.profile("toy").scores["final_error"] < 1


def test_nothing_but_nan_is_refused():
    calibrator = Calibrator(2, 2.0)
    while (trial := calibrator.next()) is not None:
        calibrator.take(trial, sampled(trial.seed, trial.config, trial.profile, trial.recorder)[0] * torch.nan)
    with pytest.raises(CalibrationError, match="No schedule gave latents without a NaN"):
        calibrator.profile("toy")


def test_states_that_are_nan_are_refused():
    calibrator = Calibrator(1, 2.0)
    trial = calibrator.next()
    recorded(trial.recorder, blocks=[toys.add(torch.nan)] * 4)
    calibrator.take(trial, torch.zeros(1))
    with pytest.raises(CalibrationError, match="hidden states have a NaN"):
        calibrator.next()


def test_it_goes_on_after_an_interrupt_as_if_nothing_had_happened(calibrator):
    again = Calibrator(4, 2.0)
    again.take(again.next(), sampled(0, again.next().config, None, again.recorder)[0])
    trial = again.next()
    sampled(trial.seed, trial.config, None, trial.recorder, stop=5)  # interrupted: never taken
    while (trial := again.next()) is not None:
        again.take(trial, sampled(trial.seed, trial.config, trial.profile, trial.recorder)[0])
    assert again.profile("toy").schedule == calibrator.profile("toy").schedule


def test_memory_is_bounded():
    many, few = Calibrator(2, 2.0), Calibrator(2, 2.0, budget=30_000)
    for calibrator in (many, few):
        for _ in range(2):
            trial = calibrator.next()
            calibrator.take(trial, sampled(trial.seed, trial.config, None, trial.recorder)[0])
        calibrator.next()
    assert few.samples.nbytes <= 30_000 < many.samples.nbytes


def recorded(recorder, sigmas=SIGMAS, blocks=BLOCKS, dtype=torch.float32, replaced=(), calls=(("cond", "uncond"),)):
    """One run of it."""
    run = Run(settings(rule="interval", interval=1), NAMES, [(0, 3)], SIGMAS, recorder=recorder)
    for sigma in sigmas[:-1]:
        toys.evaluate(run, blocks, sigma, torch.randn(1, TOKENS, WIDTH, dtype=dtype), calls, replaced)
    run.finish()


@pytest.mark.parametrize("more", [
    {"dtype": torch.bfloat16, "blocks": [toys.add(1.0)] * 4},
    {"sigmas": [sigma for sigma in SIGMAS for _ in range(2)][1:]},  # as Heun has it
    {"calls": [[f"window {i}" for i in range(8)]]},
])  # fmt: skip
def test_memory_is_bounded_whatever_the_sampler_and_the_model(more):
    runs, budget = 8, 120_000
    recorder = Recorder(runs, budget)
    for _ in range(runs):
        recorded(recorder, **more)
    found = recorder.samples()
    assert 0.4 * budget < found.nbytes <= (1 + 1 / runs) * budget
    assert found.span(1, 2) is not None


def test_wide_models_record_single_blocks_in_some_runs():
    """A token of all blocks takes more than a run's share."""
    recorder = Recorder(16, 16 * 20_000)
    for _ in range(16):
        recorded(recorder)
    found = recorder.samples()
    assert found.nbytes <= 16 * 20_000
    assert len(found.runs[0, 3].unique()) == 16
    few = Recorder(16, 16 * 5_000)
    for _ in range(16):
        recorded(few)
    found = few.samples()
    assert found.nbytes <= 16 * 5_000
    assert 4 <= len(found.runs[1, 1].unique()) < len(found.runs[0, 3].unique()) == 16


def test_blocks_that_are_not_recorded_are_not_looked_at(monkeypatch):
    """Copying even nothing to the host would wait for the device at every block."""
    copies, copied = [], Recorder._of
    monkeypatch.setattr(Recorder, "_of", staticmethod(lambda *given: copies.append(given) or copied(*given)))
    recorded(Recorder(1, 9_000))
    assert len(copies) == STEPS * 4  # in and out, of the first block and the last


def test_blocks_that_another_patch_takes_the_place_of_are_no_part_of_spans():
    recorder = Recorder(1)
    recorded(recorder, replaced=[1])
    found = recorder.samples()
    assert found.span(0, 3) is not None and found.span(2, 3) is not None
    assert found.span(0, 2) is None and found.span(1, 1) is None


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("level", ["block", "span", "stack"])
def test_every_site_finds_the_map_that_was_fitted_for_it(level, joined):
    recorder = Recorder(4)
    calibrator = Calibrator(4, 2.0)
    calibrator._recorded, calibrator.recorder = 4, recorder
    for _ in range(4):
        run = Run(settings(rule="interval", interval=1), NAMES, [(0, 3)], SIGMAS, recorder=recorder, joined=joined)
        for sigma, img in zip(SIGMAS, torch.randn(STEPS, 1, TOKENS, WIDTH).cumsum(dim=0), strict=False):
            toys.evaluate(run, LINEAR, sigma, img)
        run.finish()
    profile = calibrator.next().profile
    config = settings(rule="interval", interval=2, level=level)
    run = Run(config, NAMES, [(0, 3)], SIGMAS, profile=profile, joined=joined)
    for sigma, img in zip(SIGMAS, torch.randn(STEPS, 1, TOKENS, WIDTH), strict=False):
        toys.evaluate(run, LINEAR, sigma, img)
    images = [linear for (_, name), linear in run.memory._maps.items() if name != "txt"]
    assert len(run.cut.sites) == (1 if level == "stack" else 4)
    assert images and None not in images


def test_a_model_of_one_block_is_recorded():
    recorder = Recorder(1)
    run = Run(settings(rule="interval", interval=1), NAMES[:1], [(0, 0)], SIGMAS, recorder=recorder)
    for sigma in SIGMAS[:-1]:
        toys.evaluate(run, BLOCKS[:1], sigma, torch.randn(1, TOKENS, WIDTH))
    run.finish()
    assert recorder.samples().states[0, 0].shape == (STEPS, TOKENS, WIDTH)


def test_branches_that_are_not_always_there_are_left_out():
    recorder = Recorder(1)
    run = Run(settings(rule="interval", interval=1), NAMES, [(0, 3)], SIGMAS, recorder=recorder)
    for i, sigma in enumerate(SIGMAS[:-1]):
        toys.evaluate(run, BLOCKS, sigma, torch.randn(1, TOKENS, WIDTH), [("cond", "uncond") if i % 2 else ("cond",)])
    run.finish()
    assert recorder.samples().states[0, 3].shape == (STEPS, TOKENS, WIDTH)


def test_recorded_are_inputs_and_residuals_of_blocks_and_of_all_of_them():
    recorder, x = Recorder(1), torch.zeros(1, TOKENS, WIDTH)
    blocks = [toys.add(1.0), toys.add(2.0)]  # which write into their input
    run = Run(settings(rule="interval", interval=1), NAMES[:2], [(0, 1)], SIGMAS, recorder=recorder)
    for sigma in SIGMAS[:-1]:
        toys.evaluate(run, blocks, sigma, x.clone())
    run.finish()
    samples = recorder.samples()
    assert samples.states[0, 0].abs().max() == 0
    assert (samples.states[1, 1] == 1).all()
    assert (samples.residuals[0, 1] == 3).all()
    state, residual = samples.span(0, 1)
    assert (state.abs().max(), residual.min(), residual.max()) == (0, 3, 3)


def test_runs_with_other_steps_are_not_mixed_in():
    recorder = Recorder(2)
    for stop in (STEPS, STEPS - 2):
        run = Run(settings(rule="interval", interval=1), NAMES, [(0, 3)], SIGMAS, recorder=recorder)
        for sigma in SIGMAS[:stop]:
            toys.evaluate(run, BLOCKS, sigma, torch.randn(1, TOKENS, WIDTH))
        run.finish()
    assert recorder.notes == ["A run took other steps than the first one and was not used."]
    assert set(recorder.samples().runs[0, 3].tolist()) == {0}


@pytest.mark.parametrize(("runs", "speed"), [(0, 2.0), (4, 1.0)])
def test_impossible_wishes_are_refused(runs, speed):
    with pytest.raises(CalibrationError, match=f"There are {runs} runs and a target_speedup of {speed:g}"):
        Calibrator(runs, speed)


def test_a_model_that_nothing_is_known_of_cannot_be_calibrated():
    calibrator = Calibrator(1, 2.0)
    with pytest.raises(CalibrationError, match="Nothing was recorded"):
        calibrator.take(calibrator.next(), torch.zeros(1))


def test_too_few_steps_are_refused_after_the_first_run():
    calibrator = Calibrator(8, 2.0)
    trial = calibrator.next()
    run = Run(trial.config, NAMES, [(0, 3)], [1.0, 0.5, 0.0], recorder=trial.recorder)
    for sigma in (1.0, 0.5):
        toys.evaluate(run, BLOCKS, sigma, torch.randn(1, TOKENS, WIDTH))
    run.finish()
    with pytest.raises(CalibrationError, match="A run has 2 evaluations, but it takes 6"):
        calibrator.take(trial, torch.zeros(1))


MODULES = ["attention 0", "attention 1", "mlp 0", "mlp 1"]


def outputs_of(recorder, sizes, stop=STEPS):
    """A run at the level sublayer whose modules return `sizes` [modules] * sigma."""
    run = Run(settings(rule="interval", interval=1, level="sublayer"), MODULES, [(0, 3)], SIGMAS, recorder=recorder)
    for sigma in SIGMAS[:stop]:
        blocks = [toys.add(size * sigma) for size in sizes]
        run.begin_evaluation(sigma)
        run.begin_call(["cond", "uncond"])
        for index in (0, 2, 1, 3):  # as they are called, block by block
            nothing = {"img": torch.zeros(2, TOKENS, WIDTH), "txt": torch.zeros(2, 1, WIDTH)}
            run.run_block(toys.block_call(index, blocks[index], sigma, nothing))
        run.end_evaluation()
    if stop == STEPS:
        run.finish()


def test_what_attention_and_mlps_return_is_recorded_apart():
    recorder = PartRecorder()
    outputs_of(recorder, [1.0, 2.0, 0.0, -1.0], stop=3)  # interrupted
    assert recorder.changes(2) is None
    outputs_of(recorder, [1.0, 2.0, 0.0, -1.0])
    table = recorder.changes(2)
    assert table.shape == (4, STEPS, 2)
    torch.testing.assert_close(table[0, 0], torch.tensor([1 / 16, 2 / 16]), rtol=1e-4, atol=1e-6)
    assert (table[2] == 0).all() and torch.equal(table[0], table[1])


def test_a_profile_of_parts_has_masks_of_their_own(tmp_path):
    calibrator = Calibrator(2, 2.0, parts=True)
    while (trial := calibrator.next()) is not None:
        if trial.recorder is calibrator.parts:
            outputs_of(trial.recorder, [1.0, 1.0, 0.0, 0.0])
            calibrator.take(trial, torch.zeros(1))
        else:
            calibrator.take(trial, sampled(trial.seed, trial.config, trial.profile, trial.recorder)[0])
    calibrator.profile("toy").save(tmp_path / "parts.safetensors")
    profile = Profile.load(tmp_path / "parts.safetensors")
    assert profile.parts == MODULES
    config = BlockCacheConfig(rule="schedule", mask="smoothcache", threshold=0.05, level="sublayer")
    attention, mlp = (mask_of(config, profile, MODULES).computed[1][i] for i in (0, 2))
    assert (attention, mlp) == (1, 0), "MLPs never change, attention does"
    done, most = calibrator.progress
    assert done <= most == 2 + 1 + 4 * 2


def test_a_profile_before_the_end_is_refused():
    with pytest.raises(CalibrationError, match="did not come to its end"):
        Calibrator(4, 2.0).profile("toy")


def test_forecasts_of_the_profile_are_used_and_reuse_takes_their_place(calibrator):
    profile = calibrator.profile("toy")
    with_them, _ = off_by(settings(rule="schedule"), profile)
    without, _ = off_by(settings(rule="schedule", forecast=REUSE, predictor="extrapolate"), profile)
    assert with_them < without

"""Two processes that sample one image together decide alike, and get what one process would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from fastcache_core.calibration.recorder import joined
from fastcache_core.ranks import Alone, Ranks
from fastcache_core.signals import relative_change, token_saliency

from . import split_tokens as split

ROOT = Path(__file__).resolve().parents[2]
RANKS = 2
COMPARED = [name for name, scenario in split.SCENARIOS.items() if scenario.budgets is None and scenario.added is None]

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict]:
    """What came of every scenario on every rank."""
    folder = tmp_path_factory.mktemp("ranks")
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "tests.unit.split_tokens"]
    processes = [subprocess.Popen([*program, str(rank), str(RANKS), str(folder)], cwd=ROOT, env=variables)
                 for rank in range(RANKS)]  # fmt: skip
    try:
        assert [process.wait(60) for process in processes] == [0] * RANKS
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


@pytest.mark.parametrize("name", split.SCENARIOS)
def test_ranks_decide_alike_over_a_whole_run(results, name):
    first, *others = (result[name] for result in results)
    assert 0 < first["work"] < 1
    for other in others:
        assert other["decisions"] == first["decisions"]


@pytest.mark.parametrize("name", COMPARED)
def test_the_gathered_result_is_that_of_one_process(results, name):
    whole = split.sampled(split.SCENARIOS[name], 0, None)
    gathered = torch.cat([result[name]["x"] for result in results], dim=1)
    torch.testing.assert_close(gathered, whole["x"], rtol=1e-4, atol=1e-5)
    told = results[0][name]["decisions"]
    assert told["reasons"] == whole["decisions"]["reasons"]
    for measured in ("change", "error_expected", "error_realised"):
        for row, expected in zip(told[measured], whole["decisions"][measured], strict=True):
            assert [number is None for number in row] == [number is None for number in expected]
            assert [n or 0 for n in row] == pytest.approx([n or 0 for n in expected], rel=1e-3)


def recorded_uncached(scenario: split.Scenario) -> list[list[torch.Tensor]]:
    """Of every evaluation of an uncached run: image tokens that enter the first block and leave each, both branches."""
    model, kept = split.ToyDiT(lively=scenario.lively), []

    def block(index, sigma):
        def compute(streams, attending):
            if index == 0:
                kept.append([streams["img"].clone()])
            out = model.block(index, sigma)(streams, attending)
            kept[-1].append(out["img"].clone())
            return out

        return compute

    split.sample(split.new_run(split.Scenario({"rule": "interval", "interval": 1})), model, block=block)
    return kept


def decided_locally(scenario: split.Scenario, part: tuple[int, int], uncached: list) -> list[list[int]]:
    """What a process would decide from its own tokens, on the way that the uncached run takes."""
    run, model = split.new_run(scenario), split.ToyDiT(part)
    for sigma, states in zip(split.SIGMAS, uncached, strict=False):

        def block(index, sigma, states=states):
            return lambda streams, attending: {"txt": streams["txt"], "img": states[index + 1][:, model.part].clone()}

        model.evaluate(run, sigma, states[0][: split.SAMPLES, model.part].clone(), block)
    return run.report.to_json()["computed"]


@pytest.mark.parametrize("name", ["stack", "block", "distance", "first block"])
def test_without_the_group_they_would_decide_otherwise(name):
    scenario = split.SCENARIOS[name]
    uncached = recorded_uncached(scenario)
    own = [decided_locally(scenario, part, uncached) for part in scenario.parts]
    assert own[0] != own[1]


@pytest.mark.parametrize("name", ["stack", "block", "chi-square", "distance"])
def test_an_evaluation_takes_one_exchange_and_one_synchronisation(results, name):
    for result in results:
        assert result[name]["synchronisations"] == result[name]["exchanges"] <= split.STEPS + 1


def test_selecting_tokens_takes_one_exchange_more(results):
    for result in results:
        assert result["tokens"]["synchronisations"] < result["tokens"]["exchanges"] <= 2 * split.STEPS + 1
        assert result["tokens"]["synchronisations"] <= split.STEPS + 1


def test_tokens_were_selected_and_blocks_predicted(results):
    parts = {value for row in results[0]["tokens"]["computed"] for value in row}
    assert any(0 < value < 1 for value in parts) and 0 in parts


def test_the_smallest_budget_counts_for_all(results):
    for result in results:
        notes = result["budget"]["decisions"]["notes"]
        assert any("Tokens are not selected" in note and "MB there are" in note for note in notes), notes


def test_what_one_rank_meets_stops_all(results):
    for result in results:
        notes = result["added"]["decisions"]["notes"]
        assert any("something adds to the hidden state between blocks" in note for note in notes), notes
        assert result["added"]["decisions"]["levels"] == ["stack", "block"]


def test_all_ranks_calibrate_on_the_tokens_of_all(results):
    first, second = (result["recorded"] for result in results)
    key = (0, split.BLOCKS - 1)
    assert first["states"].keys() == second["states"].keys() > {key}
    for kept in ("states", "residuals", "runs"):
        for place, tensor in first[kept].items():
            assert torch.equal(tensor, second[kept][place])
    assert first["states"][key].shape[1] == first["runs"][key].shape[0] > split.TOKENS


def test_an_infinity_or_nan_of_one_rank_is_one_of_all():
    group = pytest.importorskip("torch.distributed")
    store = group.HashStore()
    group.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        ranks = Ranks(group.group.WORLD)
        read = [[1.0, float("nan"), 0.0, 3.0], [2.0, 0.5, 1.0, 4.0]]
        numbers = [torch.zeros(())] * 4
        found = ranks.whole(["most", "check", "alarm", "norm"], numbers, read, 2)
        assert found[0] == 2 and found[1] != found[1] and found[2] == 1 and found[3] == 5
        assert ranks.smallest(3.0, torch.device("cpu")) == 3
        h, anchor = torch.randn(2, 2, 5, 4)
        torch.testing.assert_close(token_saliency(h, anchor, ranks.mean), token_saliency(h, anchor))
        for order in (1, 2):
            told = ranks.change(h, anchor, order)
            together, _ = ranks.together([told], [], torch.device("cpu"))
            whole = ranks.whole(["change"], [told], together.tolist(), order)
            assert whole == pytest.approx([float(relative_change(h, anchor, order))], rel=1e-6)
    finally:
        group.destroy_process_group()


def test_a_process_alone_exchanges_nothing():
    alone, sums = Alone(), [torch.ones(2)]
    together, same = alone.together([torch.tensor(2.0)], sums, torch.device("cpu"))
    assert together.tolist() == [2.0] and same[0] is sums[0] and alone.told(torch.ones(1, 2, 3)) == {}
    assert alone.gathered("kept") == ["kept"] and joined([{(0, 0): sums[0]}], 0)[0, 0] is sums[0]


def test_a_group_that_nobody_names_is_not_used():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert type(split.new_run(split.SCENARIOS["stack"]).ranks) is Alone
    finally:
        dist.destroy_process_group()

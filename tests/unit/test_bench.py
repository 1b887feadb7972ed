"""The benchmark's harness: knobs, graphs, what is kept, what is planned, what is written."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import document, peers, plan, rows
from benchmarks.rows import Knob, as_mask, tuned
from benchmarks.store import SCHEMA, Store, StoreError
from benchmarks.workloads import KEEP, T2I, WORKLOADS, Setting, Workload, before_sampling, calibration, patched
from demo.graphs import demo_graph, node


def test_a_threshold_is_turned_to_the_target() -> None:
    calls = []

    def work_at(value: float) -> float:
        calls.append(value)
        return 1 / (1 + 10 * value)

    assert tuned(Knob("threshold", 1e-3, 10.0), work_at, 0.5) == pytest.approx(0.1, rel=0.03)
    assert len(calls) <= rows.HALVINGS


@pytest.mark.parametrize(("target", "steps"), [(0.5, 10), (0.35, 7), (0.65, 13)])
def test_steps_are_turned_the_other_way(target: float, steps: int) -> None:
    assert tuned(rows.FEWER_STEPS.knob, lambda value: value / 20, target) == steps


def test_an_interval_is_turned_to_the_nearest_one() -> None:
    knob = Knob("interval", 1, 8, whole=True)
    assert [tuned(knob, lambda value: 1 / value, target) for target in (0.5, 0.35, 0.15)] == [2, 3, 7]


def test_a_knob_that_does_nothing_is_left_somewhere() -> None:
    assert 1 <= tuned(Knob("interval", 1, 8, whole=True), lambda value: 1.0, 0.5) <= 8


def test_work_that_comes_in_jumps_is_met_as_nearly_as_it_can_be() -> None:
    work_at = cache(lambda value: 0.7 if value < 0.2 else 0.4)
    assert work_at(tuned(Knob("threshold", 1e-3, 10.0), work_at, 0.5)) == 0.4


def test_a_mask_has_as_many_evaluations_as_the_parts_add_up_to() -> None:
    assert as_mask([1.0, 0.0, 1.0, 0.0]) == [1, 0, 1, 0]
    assert as_mask([0.4, 0.2, 0.9, 0.5]) == [1, 0, 1, 0], "the first one has nothing before it"


def test_patches_are_a_chain_in_front_of_the_sampler() -> None:
    plain = demo_graph(1)
    found = patched(plain, [node("A", x=1), node("B", y=["other", 0])], other=node("C"))
    assert found["sample"]["inputs"]["model"] == ["patch 2", 0]
    assert found["patch 2"]["inputs"] == {"y": ["other", 0], "model": ["patch 1", 0]}
    assert found["patch 1"]["inputs"] == {"x": 1, "model": ["shift", 0]}
    assert plain == demo_graph(1), "the graph that was given stays as it was"


def test_calibration_takes_what_the_sampler_takes_and_nothing_after_it() -> None:
    graph = calibration(Setting(T2I, 8, "heun"), seed=3, runs=4, speedup=2.0, name="profile")
    assert "sample" not in graph and "save" not in graph and "decode" not in graph
    asked = graph["bench calibrate"]["inputs"]
    assert (asked["steps"], asked["sampler_name"], asked["seed"], asked["runs"]) == (8, "heun", 3, 4)
    assert asked["model"] == ["shift", 0] and graph["positive"]["inputs"]["prompts"].startswith(T2I.training_prompts[0])
    assert set(before_sampling(demo_graph(1))) == set(graph) - {"bench calibrate", KEEP}


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))
def test_workloads_tune_with_other_prompts_and_say_what_is_sampled_and_saved(workload: Workload) -> None:
    assert not set(workload.prompts) & set(workload.training_prompts)
    graph = Setting(workload, 8, "heun").graph(1, workload.prompts)
    sampler = graph["sample"]["inputs"]
    assert (sampler["steps"], sampler["sampler_name"], sampler["seed"]) == (8, "heun", 1)
    assert graph["save"]["class_type"] == "SaveImage"


def test_measurements_are_kept_and_found_again(tmp_path: Path) -> None:
    Store(tmp_path).put("a", {"seconds": 1.5}, images=np.arange(6).reshape(1, 2, 3))
    again = Store(tmp_path)
    assert again.get("a", arrays=True) == {"seconds": 1.5} and again.get("b", arrays=False) is None
    assert again.arrays("a")["images"].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert not list(tmp_path.glob("*.part"))


def test_a_measurement_without_its_pictures_is_measured_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("a", {"seconds": 1.5}, images=np.zeros(1))
    next(store.arrays_folder.iterdir()).unlink()
    assert store.get("a", arrays=True) is None and store.get("a", arrays=False) == {"seconds": 1.5}


def test_what_is_derived_is_worked_out_once(tmp_path: Path) -> None:
    store, made = Store(tmp_path), []
    store.put("a", {}, images=np.ones(3))
    for _ in range(2):
        assert store.derived("a", "sum", lambda arrays: made.append(1) or arrays["images"].sum()) == 3
    assert made == [1]


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "is no JSON"), ("[]", "has the schema None"), ('{"schema": "other/1"}', "has the schema 'other/1'"),
     (json.dumps({"schema": SCHEMA}), "has the schema")],
)  # fmt: skip
def test_a_file_that_is_not_ours_is_told_of_and_left_alone(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=f"{why}.*Move it away to start afresh"):
        Store(tmp_path)
    assert path.read_text() == text


def test_every_row_of_a_plan_that_follows_another_comes_after_it() -> None:
    for part in plan.full() + plan.quick():
        names = [row.name for row in part.rows]
        assert len(set(names)) == len(names)
        for row in part.rows:
            assert row.follows is None or row.follows in names[: names.index(row.name)]


def test_rows_are_chosen_by_name_and_bring_what_they_follow() -> None:
    (part,) = plan.with_methods(plan.quick(), ["model output, schedule of FastCache", "lazyc"])
    assert [row.name for row in part.rows] == ["FastCache", "LazyCache", "model output, schedule of FastCache"]
    with pytest.raises(ValueError, match="No row is called 'lasy'. There are: .*; FastCache; "):
        plan.with_methods(plan.quick(), ["lasy"])


def test_steps_and_sampler_make_a_setting_of_their_own() -> None:
    (part,) = plan.asked_for([], 12, "heun", is_quick=False)
    assert part.setting == Setting(T2I, 12, "heun") and part.targets == (0.5,)
    (planned,) = plan.asked_for(["t2i"], 8, None, is_quick=False)
    assert planned.rows == rows.SHORT


@pytest.mark.parametrize(
    ("given", "why"), [(["--seeds", "0"], "0 is no whole number from 1"), (["--workload", "films"], "invalid choice")]
)
def test_wrong_arguments_are_refused(given: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.arguments(given)
    assert why in capsys.readouterr().err


def test_packs_are_folders_and_modules(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="There is no pack in --peers"):
        peers.packs_in(tmp_path)
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "module.py").touch()
    assert [path.name for path in peers.packs_in(tmp_path)] == ["module.py", "pack"]
    with pytest.raises(ValueError, match="is no folder"):
        peers.packs_in(tmp_path / "nowhere")


def test_rows_of_a_pack_are_its_known_classes_only(tmp_path: Path) -> None:
    nodes = {
        "TeaCache": {"python_module": "custom_nodes.one"},
        "MagCache": {"python_module": "custom_nodes.two"},
        "Other": {"python_module": "custom_nodes.three"},
    }
    (row,) = peers.rows_of(tmp_path / "one", nodes)
    assert row.name == "TeaCache (one)" and row.knob.name == "rel_l1_thresh" and row.group == "peer"
    with pytest.raises(ValueError, match="No node of three is in the table .* it has Other"):
        peers.rows_of(tmp_path / "three", nodes)
    with pytest.raises(ValueError, match="could not load the pack four"):
        peers.rows_of(tmp_path / "four", nodes)


def result(row: str, work: float, psnr: float, **others) -> dict:
    """A result with the keys that tables read."""
    found = {"mean": psnr, "low": psnr - 1, "high": psnr + 1, "worst": psnr - 5}
    return {
        "setting": "t2i, 20 steps, euler", "workload": "t2i", "row": row, "group": "core", "target": 0.5,
        "knob": "block_threshold", "value": 0.123456, "problem": None, "work": work, "speedup": 1.6,
        "psnr": found, "ssim": found, "latent": found, "cache_bytes_peak": 2**20, "versus": {},
        "versus_in_time": {}, "frechet": 1.0, "disturbed": False,
    } | others  # fmt: skip


def test_a_table_has_the_best_row_first_and_says_what_failed() -> None:
    ahead = {"FastCache": {"mean": 3.0, "low": 1.0, "high": 5.0, "at": 0.5}}
    failed = {
        "setting": "t2i, 20 steps, euler",
        "row": "broken",
        "group": "peer",
        "target": 0.5,
        "problem": "It broke.",
    }
    text = document.results_tables(
        [result("worse", 0.4, 30, versus=ahead), result("better", 0.5, 40), failed], {"lpips": "how to get it"}
    )
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in lines] == ["| better", "| worse", "| broken"]
    assert "block threshold 0.123 | 40% | 62% | 30.0 (29.0 to 31.0)" in lines[1]
    assert "not installed" in lines[0] and "1.0 MB" in lines[0] and "It broke." in lines[2]
    assert "**+3.0 (+1.0 to +5.0)** with 50%" in lines[1], "that FastCache did more work than the row is said"


def test_what_leaves_something_behind_is_marked() -> None:
    text = document.results_tables([result("tidy", 0.5, 40), result("untidy", 0.5, 30, disturbed=True)], {"lpips": ""})
    assert "| untidy (*) |" in text and "| tidy |" in text and document.DISTURBED in text


def test_prose_around_tables_stays(tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text("# Title\n<!-- a -->\nold\n<!-- a -->\nprose <!-- b --><!-- b --> end\n")
    document.write(path, {"a": "new", "b": "also"})
    assert path.read_text() == "# Title\n<!-- a -->\nnew\n<!-- a -->\nprose <!-- b -->\nalso\n<!-- b --> end\n"
    document.write(path, {"a": "newer"})
    assert "newer" in path.read_text() and "new\n" not in path.read_text()
    with pytest.raises(document.DocumentError, match="has 0 markers <!-- c --> in place of two"):
        document.write(path, {"c": ""})


def test_a_frontier_is_drawn_where_there_is_one(tmp_path: Path) -> None:
    from benchmarks import plots

    points = [result("FastCache", work, 40 - 1 / work, target=work) for work in (0.35, 0.5, 0.65)]
    assert plots.frontiers(points[:1], tmp_path) is None
    path = plots.frontiers(points, tmp_path / "images")
    assert path is not None and path.name == "frontier_t2i.png" and path.stat().st_size > 10_000

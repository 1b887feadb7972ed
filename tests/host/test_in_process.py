"""ComfyUI's samplers in a process without a server: the benchmark of overhead, and the group that a MODEL names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess:
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=variables, capture_output=True, text=True)


def test_the_benchmark_measures_a_small_model(tmp_path):
    out = tmp_path / "overhead.json"
    few = "--sizes", "tiny", "--steps", "8", "--pairs", "1"
    done = run("benchmarks.overhead", "--device", "cpu", *few, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "| achieved / ideal at 0.35 (outside of blocks) |" in done.stdout and "\n| tiny | 5 |" in done.stdout
    (row,) = json.loads(out.read_text())["rows"]
    assert [speed["work"] for speed in row["speeds"]] == pytest.approx([0.5, 0.375])
    assert row["synchronisations"] <= 9 / 8  # one for each of eight evaluations, and one when the run is over
    assert 0 < row["predicted"] < 1 and row["stack_bytes"] < row["block_bytes"]


def test_a_model_names_the_group_that_decides():
    done = run("tests.host.one_rank")
    assert done.returncode == 0, done.stderr
    alone, ranks = done.stdout.splitlines()[-2:]
    assert alone.split() == ["Alone", "0", "9", "0.75"]
    assert ranks.split() == ["Ranks", "12", "9", "0.75"]  # three exchanges are about the memory budget

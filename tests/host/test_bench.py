"""The benchmark from end to end on few pictures, with a pack of somebody else's and one that cannot be loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# A node of a class that the benchmark knows, which keeps every other result of the model.
PACK = """
from comfy.patcher_extension import WrappersMP


class Spectrum:
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "patch", "other pack"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "window_size": ("INT", {"default": 2, "min": 1, "max": 8})}}

    def patch(self, model, window_size):
        calls, kept = [], []

        def predict(executor, *args, **kwargs):
            calls.append(1)
            if len(calls) % window_size != 1 % window_size:
                return kept[0]
            kept[:] = [executor(*args, **kwargs)]
            return kept[0]

        patched = model.clone()
        patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "other pack", predict)
        return (patched,)


NODE_CLASS_MAPPINGS = {"Spectrum": Spectrum}
"""


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs")
    for name, text in {"other_pack": PACK, "broken_pack": "import no_such_module\n"}.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    return folder


def run_bench(out: Path, packs: Path | None = None) -> str:
    few = ["--seeds", "1", "--prompts", "2", "--steps", "8", "--no-write", "--out", str(out)]
    methods = ["--methods", "fewer steps", "FastCache", "EasyCache, with the in-place fix"]
    methods += ["--peers", str(packs)] if packs else []
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *few, *methods], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_few_rows_are_measured_told_and_not_measured_again(packs: Path, tmp_path: Path) -> None:
    table = run_bench(tmp_path, packs)
    document = json.loads((tmp_path / "bench.json").read_text())
    assert document["schema"] == "fastcache.bench/1"
    assert {"processor", "cores", "ComfyUI", "torch", "FastCache", "date"} <= document["machine"].keys()
    results = {result["row"]: result for result in document["results"]}
    ours = {"uncached", "FastCache", "fewer steps", "EasyCache, with the in-place fix"}
    assert results.keys() == ours | {"Spectrum (other_pack)", "broken_pack"}
    assert results["uncached"]["psnr"]["mean"] == 60 and results["uncached"]["latent"]["mean"] == 0
    assert results["fewer steps"]["value"] == 4 and results["fewer steps"]["work"] == 0.5
    assert results["Spectrum (other_pack)"]["value"] == 2 and results["Spectrum (other_pack)"]["work"] == 0.5
    assert 15 < results["Spectrum (other_pack)"]["psnr"]["mean"] < 45
    assert results["FastCache"]["cache_bytes_peak"] > 0
    assert "could not load the pack broken_pack" in results["broken_pack"]["problem"]
    assert all(f"| {name} |" in table for name in results)
    run_bench(tmp_path)
    assert json.loads((tmp_path / "bench.json").read_text())["measurements"] == document["measurements"]

"""The widget's modules: node's test runner on the ones without DOM, and what they share with the Python picture."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fastcache_core.presets import PRESETS
from tests.unit.sample_report import empty_report, sample_report
from tests.unit.schemas import schemas
from tests.unit.test_rendering import rendering

ROOT = Path(__file__).resolve().parents[2]
NODE = shutil.which("node")
TYPESCRIPT = ("npx", "--yes", "--package", "typescript@5.9", "tsc")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed; it runs the tests of the web modules.")


def run_node(*arguments: str, stdin: str = "") -> str:
    """Run node in the repository and return what it prints; its output is the message when it fails."""
    done = subprocess.run([NODE, *arguments], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_node
def test_modules_pass_their_own_tests() -> None:
    files = sorted(str(path) for path in (ROOT / "tests/web").glob("*.test.mjs"))
    assert "# fail 0" in run_node("--test", "--test-reporter=tap", *files)


@needs_node
def test_widget_and_picture_have_the_same_colours() -> None:
    script = """import { PALETTE, shade } from "./web/lib/palette.mjs";
                console.log(JSON.stringify([PALETTE, [0, 0.1, 0.5, 0.77, 1].map((fraction) => shade(fraction))]))"""
    palette, shades = json.loads(run_node("--input-type=module", "--eval", script))
    assert palette == rendering.PALETTE
    assert shades == [f"rgb{rendering.shade(fraction)}" for fraction in (0, 0.1, 0.5, 0.77, 1)]


@needs_node
def test_settings_have_their_texts_in_every_language() -> None:
    """The frontend looks for them under the setting's id, with "_" for "."."""
    script = """import { PALETTE_NAMES } from "./web/lib/palette.mjs"; console.log(JSON.stringify(PALETTE_NAMES))"""
    palettes = json.loads(run_node("--input-type=module", "--eval", script))
    source = (ROOT / "web/fastcache.js").read_text(encoding="utf-8")
    ids = re.findall(r'"(fastcache\.Preview\.\w+)"', source)
    assert ids == ["fastcache.Preview.Live", "fastcache.Preview.Colours"]
    for folder in (ROOT / "locales").iterdir():
        texts = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        assert list(texts) == [setting.replace(".", "_") for setting in ids]
        assert list(texts["fastcache_Preview_Colours"]["options"]) == palettes
        for key, text in texts.items():
            assert folder.name != "en" or f'name: "{text["name"]}"' in source, key
            assert folder.name != "en" or f'tooltip: "{text["tooltip"]}"' in source, key


@needs_node
@pytest.mark.parametrize("report", [sample_report(), sample_report(0, 1, 1), empty_report()])
def test_widget_and_picture_write_the_same_totals_and_ranges(report: dict) -> None:
    script = """import { readReport } from "./web/lib/report.mjs";
                import { totalsText } from "./web/lib/texts.mjs";
                import { readFileSync } from "node:fs";
                const report = readReport(JSON.parse(readFileSync(0, "utf8")));
                console.log(JSON.stringify([totalsText(report), report.groups]))"""
    totals, groups = json.loads(run_node("--input-type=module", "--eval", script, stdin=json.dumps(report)))
    assert totals == rendering.totals_text(report)
    assert [(g["label"], g["first"], g["count"]) for g in groups] == rendering.group_blocks(report["blocks"])


@needs_node
@pytest.mark.parametrize(("function", "kind"), [("blockWhatIf", "block"), ("tokenWhatIf", "token")])
def test_recorded_report_follows_from_what_it_rested_on(function: str, kind: str) -> None:
    """Under its own thresholds the sample is what it was: tests of the preview may try others on it."""
    report = sample_report()
    script = f"""import {{ readReport }} from "./web/lib/report.mjs";
                 import {{ {function} }} from "./web/lib/whatif.mjs";
                 import {{ readFileSync }} from "node:fs";
                 const report = readReport(JSON.parse(readFileSync(0, "utf8")));
                 const {{ computed, computedFraction }} = {function}(report, report.thresholds.{kind}[0]);
                 console.log(JSON.stringify([computed, computedFraction]))"""
    computed, fraction = json.loads(run_node("--input-type=module", "--eval", script, stdin=json.dumps(report)))
    assert computed == report["computed"]
    assert fraction == pytest.approx(report["computed_fraction"])


@needs_node
def test_thresholds_that_are_tried_are_rounded_as_their_widgets_are() -> None:
    script = """import { STEPS } from "./web/lib/numbers.mjs"; console.log(JSON.stringify(STEPS))"""
    steps = json.loads(run_node("--input-type=module", "--eval", script))
    inputs = {(schema.node_id, entry.id): entry for schema in schemas() for entry in schema.inputs}
    presets = ("FastCachePreset", "strength")
    holders = {
        "block_threshold": [("FastCache", "block_threshold"), ("FastCacheBlockCache", "threshold"), presets],
        "token_threshold": [("FastCache", "token_threshold"), ("FastCacheTokenSelector", "threshold")],
    }
    assert steps.keys() == holders.keys()
    for knob, places in holders.items():
        assert [inputs[place].round for place in places] == [steps[knob]] * len(places)


@needs_node
def test_presets_whose_knob_is_the_threshold_are_known() -> None:
    script = """import { BY_THRESHOLD } from "./web/lib/presets.mjs"; console.log(JSON.stringify(BY_THRESHOLD))"""
    ours = [name for name, preset in PRESETS.items() if preset.knob == "threshold" and not preset.of_tokens]
    assert json.loads(run_node("--input-type=module", "--eval", script)) == ours


@needs_node
def test_types_hold() -> None:
    """tsc reads the JSDoc; what the frontend serves is declared in tests/web/shims.d.ts."""
    if shutil.which("npx") is None or subprocess.run([*TYPESCRIPT, "--version"], capture_output=True).returncode:
        pytest.skip("TypeScript's compiler is not at hand; npx fetches it from the npm registry.")
    done = subprocess.run([*TYPESCRIPT, "--project", "tests/web"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_comfyui_imports_one_file_only() -> None:
    assert [path.name for path in (ROOT / "web").rglob("*.js")] == ["fastcache.js"]


def test_modules_import_nothing_but_the_frontend_and_each_other() -> None:
    shims = ("../../scripts/app.js", "../../scripts/api.js")
    for path in [ROOT / "web/fastcache.js", *(ROOT / "web/lib").glob("*.mjs")]:
        for target in re.findall(r'^import .*?"(.+?)";$', path.read_text(encoding="utf-8"), re.MULTILINE):
            assert target in shims or (path.parent / target).is_file(), f"{path.name} imports {target}"

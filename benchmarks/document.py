"""docs/benchmarks.md: tables between markers, so that the prose around them stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]
MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM", "lpips": "LPIPS", "latent": "latent error"}
OWN = ("FastCache", "FastCache calibrated")
DISTURBED = "(*) Uncached pictures sampled beside this row were others than without it: something stays behind."
SAME_WORK = 0.02  # and time
DIGITS = {"psnr": 1, "ssim": 4, "lpips": 4, "latent": 3}


class DocumentError(RuntimeError):
    """The document lacks a marker."""


def marker(name: str) -> str:
    """What stands before and after a table."""
    return f"<!-- {name} -->"


def replaced(text: str, name: str, table: str) -> str:
    """The text with a table between its two markers of this name."""
    parts = text.split(marker(name))
    if len(parts) != 3:
        raise DocumentError(
            f"The document has {len(parts) - 1} markers {marker(name)} in place of two; put one before and one after "
            "where the table belongs."
        )
    return f"{parts[0]}{marker(name)}\n{table}\n{marker(name)}{parts[2]}"


def write(path: Path, tables: Mapping[str, str]) -> None:
    """Put tables, by the names of their markers, into a document."""
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        text = replaced(text, name, table)
    path.write_text(text, encoding="utf-8")


def pictures(paths: Sequence[Path]) -> str:
    """Pictures in the folder images beside the document."""
    return "\n\n".join(f"![{path.stem.replace('_', ' of ')}](images/{path.name})" for path in paths)


def machine_table(machine: Mapping[str, str]) -> str:
    """What it was measured on."""
    return table(("", ""), machine.items())


def rows_table(rows: Iterable[Any]) -> str:
    """What each row is."""
    return table(("row", "its knob", "what it is"), [(row.name, row.knob.name or "none", row.about) for row in rows])


def results_tables(results: Sequence[Result], not_installed: Mapping[str, str]) -> str:
    """One table for every setting and part of the work, best PSNR first."""
    settings = list(dict.fromkeys(result["setting"] for result in results))
    tables = [_setting(name, [r for r in results if r["setting"] == name], not_installed) for name in settings]
    return "\n\n".join([*tables, *not_installed.values()])


def _setting(name: str, results: Sequence[Result], not_installed: Mapping[str, str]) -> str:
    references = [r for r in results if r["group"] == "reference"]
    targets = sorted({r["target"] for r in results if r not in references}, key=lambda t: abs(t - 0.5))
    parts = [f"### {name}"]
    for target in targets:
        parts.append(f"At {target:.0%} of the work:")
        parts.append(_results([*references, *(r for r in results if r["target"] == target)], not_installed))
    saved = [result for result in results if "saved" in result]
    return "\n\n".join([*parts, *([savings(saved)] if saved else [])])


def _results(results: Sequence[Result], not_installed: Mapping[str, str]) -> str:
    done = sorted((r for r in results if not r["problem"]), key=lambda r: -r["psnr"]["mean"])
    fine = any("psnr_to_fine" in result for result in done)
    last = ("PSNR to 100 steps",) if fine else ()
    versus = ("FastCache minus it", "FastCache calibrated minus it", "in equal time")
    head = ("row", "its knob", "work", "time", *MEASURES.values(), "least PSNR", "Frechet", "cache", *versus, *last)
    lines = [_cells(result, not_installed, fine) for result in done]
    failed = [(r["row"], *[""] * (len(head) - 2), r["problem"]) for r in results if r["problem"]]
    below = "\n\n" + DISTURBED if any(result["disturbed"] for result in done) else ""
    return table(head, [*lines, *failed]) + below


def _cells(result: Result, not_installed: Mapping[str, str], fine: bool) -> tuple[str, ...]:
    knob = f"{result['knob'].replace('_', ' ')} {result['value']:.3g}" if result["knob"] else ""
    measures = [measure(result, name, not_installed) for name in MEASURES]
    distance = "not installed" if "frechet" in not_installed else f"{result['frechet']:.1f}"
    versus = [gain(result["versus"].get(own), result["work"]) for own in OWN]
    in_time = gain(result["versus_in_time"].get(OWN[0]), 1 / result["speedup"])
    to_fine = (f"{result['psnr_to_fine']:.1f}" if "psnr_to_fine" in result else "",) if fine else ()
    worst = f"{result['psnr']['worst']:.1f}"
    name = result["row"] + (" (*)" if result["disturbed"] else "")
    return (
        name, knob, f"{result['work']:.0%}", f"{1 / result['speedup']:.0%}", *measures, worst, distance,
        megabytes(result["cache_bytes_peak"]), *versus, in_time, *to_fine,
    )  # fmt: skip


def measure(result: Result, name: str, not_installed: Mapping[str, str]) -> str:
    """A mean; of PSNR with its interval, the others' are in bench.json."""
    if name in not_installed:
        return "not installed"
    return with_interval(result[name], DIGITS[name]) if name == "psnr" else f"{result[name]['mean']:.{DIGITS[name]}f}"


def savings(results: Sequence[Result]) -> str:
    """What the token selector saves at equal PSNR."""
    head = ("row", "work", "PSNR, dB", "less work than without token selector, at equal PSNR")
    lines = [
        (r["row"], f"{r['work']:.0%}", f"{r['psnr']['mean']:.1f}", percent(r["saved"]))
        for r in sorted(results, key=lambda r: -r["work"])
    ]
    return "What the token selector saves:\n\n" + table(head, lines)


def percent(found: Mapping[str, float]) -> str:
    """A part with its interval."""
    return f"{found['mean']:.0%} ({found['low']:.0%} to {found['high']:.0%})"


def with_interval(found: Mapping[str, float], digits: int) -> str:
    """A mean with its interval."""
    return f"{found['mean']:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def gain(found: Mapping[str, float] | None, wanted: float) -> str:
    """A difference of PSNR with its interval; bold where zero lies outside. It says so where ours did other work."""
    if found is None:
        return ""
    text = f"{found['mean']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"
    told = f"**{text}**" if found["low"] > 0 or found["high"] < 0 else text
    return told if abs(found["at"] - wanted) < SAME_WORK else f"{told} with {found['at']:.0%}"


def megabytes(octets: int) -> str:
    """Of what FastCache keeps; other methods do not say what they keep."""
    return f"{octets / 2**20:.1f} MB" if octets else ""


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    ruled = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in ruled)

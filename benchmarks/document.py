"""docs/benchmarks.md: tables between markers, so that the prose around them stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]
MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM", "lpips": "LPIPS", "latent": "latent error"}
SAME_WORK = 0.02
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


def machine_table(machine: Mapping[str, str]) -> str:
    """What it was measured on."""
    return table(("", ""), machine.items())


def rows_table(rows: Iterable[Any]) -> str:
    """What each row is."""
    return table(("row", "its knob", "what it is"), [(row.name, row.knob.name or "none", row.about) for row in rows])


def results_tables(results: Sequence[Result], not_installed: Mapping[str, str]) -> str:
    """One table for every setting and part of the work, best PSNR first."""
    settings = list(dict.fromkeys(result["setting"] for result in results))
    return "\n\n".join(_setting(name, [r for r in results if r["setting"] == name], not_installed) for name in settings)


def _setting(name: str, results: Sequence[Result], not_installed: Mapping[str, str]) -> str:
    targets = sorted({r["target"] for r in results if r["group"] != "reference"}, key=lambda t: abs(t - 0.5))
    parts = [f"### {name}"]
    for target in targets:
        parts.append(f"At {target:.0%} of the work:")
        parts.append(_results([r for r in results if r["target"] == target], not_installed))
    return "\n\n".join(parts)


def _results(results: Sequence[Result], not_installed: Mapping[str, str]) -> str:
    done = sorted((r for r in results if not r["problem"]), key=lambda r: -r["psnr"]["mean"])
    head = ("row", "its knob", "work", "time", *MEASURES.values(), "Frechet", "cache",
            "FastCache minus it", "FastCache calibrated minus it")  # fmt: skip
    lines = [_cells(result, not_installed) for result in done]
    failed = [(r["row"], *[""] * (len(head) - 2), r["problem"]) for r in results if r["problem"]]
    return table(head, [*lines, *failed])


def _cells(result: Result, not_installed: Mapping[str, str]) -> tuple[str, ...]:
    knob = f"{result['knob'].replace('_', ' ')} {result['value']:.3g}" if result["knob"] else ""
    measures = [with_interval(result.get(name), digits) if name not in not_installed else "not installed"
                for name, digits in DIGITS.items()]  # fmt: skip
    distance = f"{result['frechet']:.1f}" if "frechet" in result else "not installed"
    versus = [gain(result["versus"].get(own), result["work"]) for own in ("FastCache", "FastCache calibrated")]
    return (
        result["row"], knob, f"{result['work']:.0%}", f"{1 / result['speedup']:.0%}", *measures, distance,
        megabytes(result["cache_bytes_peak"]), *versus,
    )  # fmt: skip


def with_interval(found: Mapping[str, float] | None, digits: int) -> str:
    """A mean with its interval."""
    if found is None:
        return ""
    return f"{found['mean']:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def gain(versus: Mapping[str, Mapping[str, float]] | None, work: float) -> str:
    """A difference of PSNR with its interval; bold where zero lies outside. It says so where ours did other work."""
    if versus is None:
        return ""
    found = versus["psnr"]
    text = f"{found['mean']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"
    told = f"**{text}**" if found["low"] > 0 or found["high"] < 0 else text
    return told if abs(found["at"] - work) < SAME_WORK else f"{told} with {found['at']:.0%}"


def megabytes(octets: int) -> str:
    """Of what FastCache keeps; other methods do not say what they keep."""
    return f"{octets / 2**20:.1f} MB" if octets else ""


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    ruled = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in ruled)

"""Measure methods, settings and seeds in a real ComfyUI: python3 dev.py bench.

Writes bench.json and, unless told not to, docs/benchmarks.md and its pictures. Every measurement is kept as soon as it
is made: an interrupted run goes on where it was, and one that is asked for more measures only that.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tqdm import tqdm

from hosting.process import ComfyError

from . import document, plan
from .host import ROOT, Host, running
from .machine import machine
from .measure import Bench
from .plan import Part
from .rows import UNCACHED
from .store import Store, StoreError
from .summary import Result, Summary
from .workloads import WORKLOADS

DOCUMENT, IMAGES = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "images"
SEEDS, FEW_SEEDS = 5, 2


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a look at text to image at half of the work, few seeds")
    parser.add_argument("--workload", nargs="+", default=[], choices=list(WORKLOADS), metavar="NAME",
                        help=f"only these: {', '.join(WORKLOADS)}")  # fmt: skip
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME",
                        help="only rows whose names contain one of these")  # fmt: skip
    parser.add_argument("--steps", type=whole(2, 1000), metavar="N", help="steps of the schedule")
    parser.add_argument("--sampler", metavar="NAME", help="sampler, such as euler, dpmpp_2m, heun")
    parser.add_argument("--seeds", type=whole(1, 100), metavar="N", help=f"default: {SEEDS}, {FEW_SEEDS} with --quick")
    parser.add_argument("--prompts", type=whole(1, 1000), metavar="N", help="only the first N prompts")
    parser.add_argument("--out", type=Path, default=ROOT / "out", metavar="DIR", help="default: out")
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    return parser.parse_args(given)


def whole(low: int, high: int):
    """A type of arguments: a whole number within bounds."""

    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {low} to {high}")
        return int(text)

    return read


def bench(options: argparse.Namespace) -> None:
    """Measure what was asked for, and write it down."""
    parts = plan.asked_for(options.workload, options.steps, options.sampler, options.quick)
    parts = plan.with_methods(parts, options.methods)
    if options.prompts:
        parts = [Part(part.setting.with_few(options.prompts), part.rows, part.targets) for part in parts]
    seeds = options.seeds or (FEW_SEEDS if options.quick else SEEDS)
    store = Store(options.out)
    results: list[Result] = []
    with running(options.out / "bench" / "base") as host:
        store.document["machine"] = machine(host)
        tqdm.write(estimate(host, parts, seeds))
        with tqdm(total=sum(len(part.rows) + 1 for part in parts), unit="row") as bar:
            for part in parts:
                results += measured(host, store, part, seeds, bar)
                store.document["results"] = results
                store.write()
                if not options.no_write:
                    write(store.document["machine"], results, parts)
    print(document.results_tables(results, {}))
    print(f"\nWritten: {store.path}" + ("" if options.no_write else f", {DOCUMENT}"))


def measured(host: Host, store: Store, part: Part, seeds: int, bar: tqdm) -> list[Result]:
    """The results of one part of the plan."""
    found = Bench(host, store, part.setting, seeds, lambda text: bar.set_description(f"{part.setting.name}: {text}"))
    for row in (UNCACHED, *part.rows):
        found.measure(row, part.targets)
        bar.update()
    return Summary(found, {}, None).results(part.rows)


def estimate(host: Host, parts: list[Part], seeds: int) -> str:
    """How long it will take at most, from one uncached run."""
    setting = parts[0].setting
    graph = setting.graph(0, setting.workload.prompts)
    host.sample(graph)
    begun = time.perf_counter()
    host.sample(graph)
    seconds = time.perf_counter() - begun
    runs = sum(part.runs(seeds) * part.setting.cost / setting.cost for part in parts)
    return (
        f"One uncached run takes {seconds:.1f} s here; all will take about {runs * seconds / 60:.0f} minutes at most."
    )


def write(machine_: dict[str, str], results: list[Result], parts: list[Part]) -> None:
    """The document and its pictures."""
    from . import plots

    rows = list(dict.fromkeys(row for part in parts for row in part.rows))
    tables = {
        "machine": document.machine_table(machine_),
        "rows": document.rows_table([UNCACHED, *rows]),
        "results": document.results_tables(results, {}),
    }
    document.write(DOCUMENT, tables)
    for name in dict.fromkeys(result["workload"] for result in results):
        first = next(result["setting"] for result in results if result["workload"] == name)
        plots.frontiers([r for r in results if r["setting"] == first], IMAGES / f"frontier_{name}.png")


def main() -> int:
    try:
        bench(arguments(sys.argv[1:]))
    except (ComfyError, StoreError, document.DocumentError, ValueError) as error:
        print(f"Benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What was measured is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

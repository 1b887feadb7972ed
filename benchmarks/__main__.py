"""Measure methods, settings and seeds in a real ComfyUI: python3 dev.py bench.

Writes bench.json and, unless told not to, docs/benchmarks.md and its pictures. Every measurement is kept as soon as it
is made: an interrupted run goes on where it was, and one that is asked for more measures only that.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from hosting.process import ComfyError

from . import document, peers, perceptual, plan
from .book import Book
from .host import ROOT, Host, running
from .machine import machine
from .measure import Bench
from .plan import Part
from .rows import UNCACHED
from .store import Store, StoreError
from .workloads import WORKLOADS

SAMPLERS = "--samplers"  # another benchmark, with options of its own (samplers.py)
OVERHEAD = (
    "--device cuda|cpu measures models of real sizes with random weights instead; add --help for its options. "
    "--samplers compares every kind of sampler and schedule with plain steps of the same."
)
DOCUMENT = ROOT / "docs" / "benchmarks.md"


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__.split("\n\n")[0], epilog=OVERHEAD)
    parser.add_argument("--quick", action="store_true", help="a look at text to image at half of the work, few seeds")
    parser.add_argument(
        "--workload", nargs="+", default=[], choices=list(WORKLOADS), metavar="NAME", help=f"of: {', '.join(WORKLOADS)}"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="NAME",
        help="rows of these names, or whose names contain one of them",
    )
    parser.add_argument("--steps", type=whole(2, 1000), metavar="N", help="steps of the schedule")
    parser.add_argument("--sampler", metavar="NAME", help="sampler, such as euler, dpmpp_2m, heun")
    parser.add_argument("--seeds", type=whole(1, 100), metavar="N", help="default: what the plan has, 2 to 5")
    parser.add_argument("--prompts", type=whole(1, 1000), metavar="N", help="only the first N prompts")
    parser.add_argument(
        "--peers", type=Path, metavar="DIR", help="a folder of other packs; known nodes of theirs become rows"
    )
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
        parts = [replace(part, setting=part.setting.with_few(options.prompts)) for part in parts]
    if options.seeds:
        parts = [replace(part, seeds=options.seeds) for part in parts]
    packs = peers.packs_in(options.peers) if options.peers else []
    book = Book(Store(options.out), perceptual.available(), None if options.no_write else DOCUMENT)
    with tqdm(total=sum(len(part.rows) + 1 for part in parts), unit="row") as bar:
        with running(options.out / "bench" / "base") as host:
            book.machine = machine(host)
            bar.write(estimate(host, parts))
            for part in parts:
                found = Bench(host, book.store, part.setting, part.seeds, part.calibration, telling(bar, part))
                measure(found, part, book, bar)
        for pack in packs:
            measure_pack(pack, options.out / "bench" / "peers" / pack.stem, book, bar)
    print(book.tables()["results"])
    print(f"\nWritten: {book.store.path}" + ("" if options.no_write else f", {DOCUMENT}"))


def telling(bar: tqdm, part: Part) -> Callable[[str], None]:
    """Says beside the progress bar what is going on."""
    return lambda text: bar.set_description(f"{part.setting.name}: {text}")


def measure(bench_: Bench, part: Part, book: Book, bar: tqdm) -> None:
    """All rows of one part of the plan."""
    for row in (UNCACHED, *part.rows):
        bench_.measure(row, part.targets_of(row))
        bar.update()
    book.add(bench_, part)


def measure_pack(pack: Path, folder: Path, book: Book, bar: tqdm) -> None:
    """The rows of another pack in all settings, in a ComfyUI of its own; a pack that fails costs nothing else."""
    rows, problem = [peers.failed(pack)], None
    try:
        with running(folder / "base", pack) as host:
            rows = peers.rows_of(pack, host.nodes)
            bar.total += len(rows) * len(book.parts)
            for bench_, part in book.parts:
                beside = Bench(
                    host, book.store, part.setting, part.seeds, part.calibration, telling(bar, part), bench_.points
                )
                for row in rows:
                    beside.measure(row, part.targets)
                    bar.update()
    except (ComfyError, ValueError) as error:
        problem = str(error).splitlines()[0]
    for bench_, part in book.parts:
        for row in rows if problem else ():
            bench_.fail(row, part.targets, problem)
    book.extend(rows)


def estimate(host: Host, parts: list[Part]) -> str:
    """How long it will take at most, from one uncached run."""
    setting = parts[0].setting
    graph = setting.graph(0, setting.workload.prompts)
    host.sample(graph)
    begun = time.perf_counter()
    host.sample(graph)
    seconds = time.perf_counter() - begun
    runs = sum(part.cost * part.setting.cost / setting.cost for part in parts)
    return (
        f"One uncached run takes {seconds:.1f} s here; all will take about {runs * seconds / 60:.0f} minutes at most."
    )


def main() -> int:
    given = sys.argv[1:]
    if any(argument.partition("=")[0] == "--device" for argument in given):
        from .overhead import main as measure_overhead  # which runs ComfyUI in this process

        return measure_overhead(given)
    if SAMPLERS in given:
        from .samplers import main as measure_samplers  # in this process as well

        return measure_samplers([argument for argument in given if argument != SAMPLERS])
    try:
        bench(arguments(given))
    except (ComfyError, StoreError, document.DocumentError, ValueError) as error:
        print(f"Benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What was measured is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

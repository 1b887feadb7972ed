"""One ComfyUI process: start, wait until it answers, read its log, stop. Standard library only, 127.0.0.1 only."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

LAUNCHER = Path(__file__).with_name("launch.py")
# float32, because bfloat16 matrix products are hundreds of times slower on many CPUs.
CPU_ARGUMENTS = ("--cpu", "--force-fp32", "--use-pytorch-cross-attention", "--disable-api-nodes")


class ComfyError(RuntimeError):
    """ComfyUI did not start, refused a graph, or a node failed; the message is ComfyUI's own."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody else is given for the next minute, in which it can be listened on.

    Several test processes start a ComfyUI at once. A connection that has just been closed keeps the system from giving
    its port away, and SO_REUSEADDR, with which servers listen, from refusing it to who asks for it by number.
    """
    with socket.socket() as listening, socket.socket() as visitor:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        visitor.connect(listening.getsockname())
        listening.accept()[0].close()  # by the server's side first: that is the side which remembers
        return listening.getsockname()[1]


def is_free(port: int) -> bool:
    """Whether nobody answers on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class ComfyProcess:
    """main.py of `tree` on `base`, run by `python` in `tree`. It prints to `log_file`, or to the terminal if that is
    None."""

    def __init__(
        self,
        tree: Path,
        base: Path,
        *,
        python: Path | str = sys.executable,
        port: int | None = None,
        arguments: Sequence[str] = CPU_ARGUMENTS,
        log_file: Path | None = None,
    ):
        self.tree, self.base, self.python = Path(tree).absolute(), Path(base).absolute(), str(python)
        self.port = port or free_port()
        self.arguments, self.log_file = tuple(arguments), log_file
        # Proxy settings of the environment must not apply to 127.0.0.1.
        self._opener: OpenerDirector = build_opener(ProxyHandler({}))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The number of the running process."""
        self.check_alive()
        assert self._process is not None
        return self._process.pid

    def command(self) -> list[str]:
        """The command line. The database goes to the base directory: a checkout that is not ours stays as it is."""
        database = (self.base / "user" / "comfyui.db").as_posix()
        return [
            self.python, str(LAUNCHER), str(self.tree), "--base-directory", str(self.base), "--port", str(self.port),
            "--database-url", f"sqlite:///{database}", "--disable-auto-launch", *self.arguments,
        ]  # fmt: skip

    def start(self, timeout: float = 300) -> None:
        """Start ComfyUI and return when it answers; a `ComfyError` ends with the log's tail."""
        # PYTHONPATH could put this repository's `nodes` package before ComfyUI's module of that name.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
        output = self.log_file.open("wb") if self.log_file else None
        try:
            self._process = subprocess.Popen(
                self.command(), cwd=self.tree, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT if output else None,
            )  # fmt: skip
        finally:
            if output:
                output.close()
        try:
            self._await_answer(timeout)
        except BaseException:
            self.stop()
            raise

    def _await_answer(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                self.get("/system_stats")
                return
            except (URLError, OSError):
                time.sleep(0.2)
        raise ComfyError(f"ComfyUI did not answer on {self.url} within {timeout:.0f} s.{self.tail()}")

    def check_alive(self) -> None:
        """Raise a `ComfyError` when the process has ended."""
        code = self._process.poll() if self._process else None
        if self._process is None or code is not None:
            ended = "was not started" if self._process is None else f"ended with code {code}"
            raise ComfyError(f"ComfyUI in {self.tree} {ended}.{self.tail()}")

    def wait(self) -> int:
        """Wait until the process ends by itself and return its exit code."""
        self.check_alive()
        assert self._process is not None
        return self._process.wait()

    def stop(self) -> None:
        """End the process, by force when it has not ended after ten seconds."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """Everything ComfyUI has printed; empty when it prints to the terminal."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file else ""

    def tail(self, lines: int = 30) -> str:
        """The end of the log, ready to be appended to an error message."""
        last = self.log().splitlines()[-lines:]
        return "\nThe log ends with:\n" + "\n".join(last) if last else " Its output stands above."

    def fetch(self, path: str, data: Mapping[str, Any] | None = None, timeout: float = 60) -> bytes:
        """GET `path`, or POST `data` to it as JSON; an HTTP error becomes a `ComfyError` with ComfyUI's answer."""
        body = None if data is None else json.dumps(data).encode()
        request = Request(self.url + path, body, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=timeout) as response:
                return response.read()
        except HTTPError as error:
            answer = error.read().decode(errors="replace")
            raise ComfyError(f"ComfyUI answered {path} with {error.code} {error.reason}: {answer}") from None

    def get(self, path: str) -> Any:
        """GET `path` and parse the JSON that comes back."""
        return json.loads(self.fetch(path))

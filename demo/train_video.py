"""Train the video demo's diffusion transformer by flow matching on pieces of clothing that move over a background.

    python demo/train_video.py --minutes 40                        from scratch, on one core
    python demo/train_video.py --minutes 20 --start demo/model     go on from saved weights

Writes <out>/fastcache_demo_video.safetensors (loads with ComfyUI's "Load Diffusion Model") and
<out>/fastcache_demo_video_words.safetensors (the prompt embedding table), every --save-every minutes. Only the
pieces of clothing are data (Fashion-MNIST, see data.py); backgrounds and paths are drawn at random.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo.data import CLASSES, FOLDER, load  # noqa: E402
from demo.wan import TEXT, Wan  # noqa: E402

FRAMES, SIZE, SPRITE, TOKEN = 6, 48, 16, 8  # in pixels
SPEED = TOKEN // 2  # pixels from one frame to the next
MOTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
NO_CLASS, FIRST_MOTION, NO_MOTION, ROWS = 10, 11, 15, 16
# What the demo's prompt node must know to turn words into rows of the embedding table; stored beside it. The row
# behind the last word of a kind stands for none of them.
VOCABULARY = {
    "classes": ",".join(CLASSES),
    "motions": ",".join(MOTIONS),
    "first_classes": "0",
    "first_motions": str(FIRST_MOTION),
}
# ComfyUI takes for granted that Wan's text is as wide as its own text encoder makes it; files hold zeros up to there.
FROM_TEXT, COMFYUI_TEXT = "text_embedding.0.weight", 4096
SIGMA_SHIFT = 4.0  # of the noise levels to train with: neighbouring frames show the same, so noise hides less
WAN_FILE, WORDS_FILE = "fastcache_demo_video.safetensors", "fastcache_demo_video_words.safetensors"


class Trainee(nn.Module):
    """The transformer and the table that turns a prompt's two rows into its context [b, 2, TEXT]."""

    def __init__(self):
        super().__init__()
        self.wan, self.words = Wan(), nn.Embedding(ROWS, TEXT)

    def forward(self, noisy: Tensor, rows: Tensor, sigma: Tensor) -> Tensor:
        return self.wan(noisy, self.words(rows), sigma)

    def save(self, out: Path, note: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        state = {name: value.to(torch.bfloat16).contiguous() for name, value in self.wan.state_dict().items()}
        state[FROM_TEXT] = pad(state[FROM_TEXT], (0, COMFYUI_TEXT - TEXT))
        save_file(state, out / WAN_FILE, {"description": note})
        words = {"words": pad(self.words.weight.detach(), (0, COMFYUI_TEXT - TEXT)).to(torch.bfloat16)}
        save_file(words, out / WORDS_FILE, {"description": note, **VOCABULARY})

    def restore(self, folder: Path) -> None:
        state = load_file(folder / WAN_FILE)
        state[FROM_TEXT] = state[FROM_TEXT][:, :TEXT]
        self.wan.load_state_dict({name: value.float() for name, value in state.items()})
        self.words.load_state_dict({"weight": load_file(folder / WORDS_FILE)["words"][:, :TEXT].float()})


def backgrounds(count: int) -> Tensor:
    """Smooth random patterns [count, 1, SIZE, SIZE], darker than the pieces of clothing."""
    coarse = torch.rand(count, 1, 3, 3) * 0.5
    return interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=True).clamp(0, 0.5)


def paths(motion: Tensor) -> Tensor:
    """Top left corners [b, FRAMES, 2] of sprites that stay inside the picture, of one motion [b] each.

    Across their motion they begin at tokens' borders, along it at these and in the middle: fewer ways to cut a sprite
    into tokens are fewer to learn.
    """
    direction = torch.tensor(list(MOTIONS.values()))[motion]
    travelled = direction[:, None] * SPEED * torch.arange(FRAMES)[None, :, None]
    low, high = -travelled.amin(dim=1), SIZE - SPRITE - travelled.amax(dim=1)
    apart = torch.where(direction == 0, TOKEN, SPEED)
    start = low + (torch.rand(len(motion), 2) * ((high - low) // apart + 1)).long() * apart
    return start[:, None] + travelled


def videos(sprites: Tensor, motion: Tensor) -> Tensor:
    """Sprites [b, SPRITE, SPRITE] in 0..1 move over backgrounds: grey videos [b, FRAMES, SIZE, SIZE] in 0..1."""
    video = backgrounds(len(sprites)).repeat(1, FRAMES, 1, 1)
    for frames, sprite, corners in zip(video, sprites, paths(motion).tolist(), strict=True):
        opaque = (sprite * 3).clamp(max=1)
        for frame, (top, left) in zip(frames, corners, strict=True):
            place = frame[top : top + SPRITE, left : left + SPRITE]
            place.lerp_(0.4 + 0.6 * sprite, opaque)
    return video


def latents(video: Tensor) -> Tensor:
    """Grey videos [b, t, h, w] in 0..1 -> latents [b, 16, t, h / 4, w / 4]: a channel is a pixel of 4x4."""
    return rearrange(video * 2 - 1, "b t (h p) (w q) -> b (p q) t h w", p=4, q=4)


def draw_batch(grey: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Random latents and their rows [b, 2]; each row is dropped one time in ten."""
    picked, motion = torch.randint(len(grey), (size,)), torch.randint(len(MOTIONS), (size,))
    sprites = interpolate(grey[picked, None, 2:-2, 2:-2], size=SPRITE, mode="area")[:, 0]
    rows = torch.stack([labels[picked], FIRST_MOTION + motion], dim=1)
    dropped = (torch.rand(size, 1) < 0.1) | (torch.rand(size, 2) < 0.05)
    return latents(videos(sprites, motion)), torch.where(dropped, torch.tensor([NO_CLASS, NO_MOTION]), rows)


def flow_loss(model: nn.Module, clean: Tensor, rows: Tensor) -> Tensor:
    """Mean squared error of the velocity at logit-normal sigma (Esser et al. 2024, equation 19), shifted."""
    even = torch.randn(len(clean)).sigmoid()
    sigma = SIGMA_SHIFT * even / (1 + (SIGMA_SHIFT - 1) * even)
    noise = torch.randn_like(clean)
    noisy = torch.lerp(clean, noise, sigma[:, None, None, None, None])
    with torch.autocast("cpu", torch.bfloat16):
        velocity = model(noisy, rows, sigma)
    return (velocity.float() - (noise - clean)).square().mean()


def optimizers(model: Trainee, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the rest."""
    matrices = [p for p in model.wan.blocks.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, 1.6 * rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--save-every", type=float, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile each block")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    grey, labels = load("train", options.data)
    model, average = Trainee(), Trainee()
    if options.start:
        model.restore(options.start)
    average.load_state_dict(model.state_dict())
    rules = optimizers(model, options.rate)
    for group in (group for rule in rules for group in rule.param_groups):
        group["initial_lr"] = group["lr"]
    for block in model.wan.blocks if options.compile else ():
        block.compile()

    begun, step, mean_loss, saved, done = time.monotonic(), 0, 0.0, 0.0, 0.0
    while done < 1:
        step += 1
        loss = flow_loss(model, *draw_batch(grey, labels, options.batch))
        for rule in rules:
            rule.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for rule in rules:
            for group in rule.param_groups:
                group["lr"] = group["initial_lr"] * min(step / 20, 1) * min((1 - done) / 0.7, 1)
            rule.step()
        keep = min(0.995, step / (step + 10))
        for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
            ours.data.lerp_(theirs.data, 1 - keep)
        mean_loss += (loss.item() - mean_loss) / min(step, 100)
        minutes = (time.monotonic() - begun) / 60
        done, seen = minutes / options.minutes, step * options.batch
        if step % 20 == 0:
            print(f"{minutes:.1f} minutes, {seen} videos, loss {mean_loss:.4f}", flush=True)
        if minutes - saved >= options.save_every or done >= 1:
            average.save(options.out, f"Fashion-MNIST, moving over still backgrounds; {seen} videos this run")
            saved = minutes


if __name__ == "__main__":
    main()

"""Train the demo's transformer for two references: the piece of the first in the colour of the second.

    python demo/train_references.py                                     from the weights of the editing transformer
    python demo/train_references.py --images 9600 --start demo/model    go on from saved weights

References are modulated as at timestep zero, as Flux.2 and Qwen-Image-Edit 2511 have them. Writes
<out>/fastcache_demo_references.safetensors every --save-every images. Prompts are the demo's, words and table.
"""

from __future__ import annotations

from pathlib import Path

import torch
from data import COLOURS, NO_COLOUR, load, tint
from dit import ReferencesDiT
from safetensors.torch import load_file
from torch import Tensor
from train import Trainee, draw_rows, fit, parser, scaled
from train_edit import FILE as EDIT_FILE
from train_edit import edit_loss, save

FILE = "fastcache_demo_references.safetensors"


def draw_matches(grey: Tensor, labels: Tensor, size: int) -> tuple[Tensor, list[Tensor], Tensor]:
    """Random images [b, 3, 32, 32] in training scale; of each the same piece in another colour, and another piece in
    its colour; rows [b, 2], which name no colour."""
    piece, other = torch.randint(len(grey), (2, size))
    before, after = torch.randint(len(COLOURS), (2, size))
    images, same_piece, same_colour = (
        scaled(tint(grey[picked], colour)) for picked, colour in ((piece, after), (piece, before), (other, after))
    )
    rows = draw_rows(labels[piece], after)
    rows[:, 1] = NO_COLOUR
    return images, [same_piece, same_colour], rows


def main() -> None:
    options = parser(__doc__, images=24_000, rate=7e-4, batch=16).parse_args()
    torch.manual_seed(0)
    grey, labels = load("train", options.data)
    here = Path(__file__).parent / "model"
    demo, model, average = Trainee().requires_grad_(False), ReferencesDiT(), ReferencesDiT()
    demo.restore(here)
    start = options.start / FILE if options.start else here / EDIT_FILE
    model.load_state_dict({name: value.float() for name, value in load_file(start).items()})
    options.out.mkdir(parents=True, exist_ok=True)
    fit(
        model,
        average,
        lambda run: edit_loss(run, demo.words, *draw_matches(grey, labels, options.batch)),
        options,
        lambda note: save(average, options.out / FILE, f"Fashion-MNIST, two references; {note}"),
    )


if __name__ == "__main__":
    main()

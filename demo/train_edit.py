"""Train the demo's editing transformer: a picture as reference, the same picture in the prompt's colour as output.

    python demo/train_edit.py --images 9600                        from the weights of the demo's transformer
    python demo/train_edit.py --images 9600 --start demo/model     go on from saved weights

Writes <out>/fastcache_demo_edit.safetensors every --save-every images. Prompts are the demo's, words and table.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from data import COLOURS, load, tint
from dit import HEAD, DiT, EditDiT
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from train import Trainee, draw_rows, fit, flow_loss, parser, scaled

FILE = "fastcache_demo_edit.safetensors"
# Where DiT's dimensions of queries and keys go: the four lowest frequencies of rows and of columns turn with the first
# axis of EditDiT, the others stay with theirs.
TURNS = torch.tensor([*range(56, 64), *range(120, 128), *range(56), *range(64, 120)])


def converted(model: DiT, words: Tensor) -> dict[str, Tensor]:
    """Weights of an EditDiT that, without a reference, does what this DiT does for rows of words [n, 64].

    Its text has a linear layer in place of a refiner: what that makes of each row alone, at half noise.
    """
    state = {name: reordered(name, value) for name, value in model.state_dict().items() if "txt_in" not in name}
    state["img_in.weight"] = state.pop("img_in.proj.weight").flatten(1)
    state["img_in.bias"] = state.pop("img_in.proj.bias")
    refined = model.txt_in(words[:, None], torch.full((len(words),), 500.0))[:, 0]
    inputs = torch.cat([words, torch.ones(len(words), 1)], dim=1)
    *weight, bias = torch.linalg.lstsq(inputs, refined, driver="gelsd").solution  # more unknowns than words: exact
    return state | {"txt_in.weight": torch.stack(weight, dim=1), "txt_in.bias": bias}


def reordered(name: str, value: Tensor) -> Tensor:
    """A weight of blocks with the dimensions of queries and keys, its first rows, in the order TURNS."""
    if name.endswith(("key_norm.scale", "query_norm.scale")):
        return value[TURNS]
    if "qkv." in name or "linear1." in name:
        query, key, others = value.split([HEAD, HEAD, len(value) - 2 * HEAD])
        return torch.cat([query[TURNS], key[TURNS], others])
    return value


def draw_edits(grey: Tensor, labels: Tensor, size: int) -> tuple[Tensor, list[Tensor], Tensor]:
    """Random images and a reference each, [b, 3, 32, 32] in training scale, one piece in two colours; rows [b, 2]."""
    picked = torch.randint(len(grey), (size,))
    before, after = torch.randint(len(COLOURS), (2, size))
    images, reference = (scaled(tint(grey[picked], colour)) for colour in (after, before))
    return images, [reference], draw_rows(labels[picked], after)


def edit_loss(model: nn.Module, words: nn.Embedding, images: Tensor, references: list[Tensor], rows: Tensor) -> Tensor:
    def velocity(noisy: Tensor, rows: Tensor, sigma: Tensor) -> Tensor:
        return model(noisy, words(rows), sigma, references)

    return flow_loss(velocity, images, rows)


def save(model: EditDiT, path: Path, note: str) -> None:
    """Write the weights with what ComfyUI's class has to be told, as they do not tell it."""
    state = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, {"description": note, "unet_config": json.dumps(model.CONFIG)})


def main() -> None:
    options = parser(__doc__, images=9_600, rate=7e-4, batch=16).parse_args()
    torch.manual_seed(0)
    grey, labels = load("train", options.data)
    demo = Trainee().requires_grad_(False)
    demo.restore(Path(__file__).parent / "model")
    model, average = EditDiT(), EditDiT()
    if options.start:
        model.load_state_dict({name: value.float() for name, value in load_file(options.start / FILE).items()})
    else:
        model.load_state_dict(converted(demo.dit, demo.words.weight))
    options.out.mkdir(parents=True, exist_ok=True)
    fit(
        model,
        average,
        lambda run: edit_loss(run, demo.words, *draw_edits(grey, labels, options.batch)),
        options,
        lambda note: save(average, options.out / FILE, f"Fashion-MNIST, one piece in two colours; {note}"),
    )


if __name__ == "__main__":
    main()

"""The trained demo model draws what the words say: a classifier trained on real images recognises its pictures."""

from __future__ import annotations

import numpy as np
import torch

from demo.data import CLASSES, COLOURS
from demo.graphs import demo_graph
from demo.recognise import recognise

from .graphs import pictures, sample


def test_nine_of_ten_generated_images_are_recognised_and_have_the_colour_asked_for(server):
    colours = list(COLOURS)
    asked = [(i, colours[(3 * i + j) % len(colours)]) for i in range(len(CLASSES)) for j in range(8)]
    latents, _ = sample(server, demo_graph(1, prompts=tuple(f"{colour} {CLASSES[i]}" for i, colour in asked)))
    images = torch.from_numpy(pictures(latents)).float()
    right = recognise(images) == torch.tensor([i for i, _ in asked])
    assert right.float().mean() >= 0.9, f"{right.float().mean():.0%} recognised"

    table = np.array([COLOURS[colour] for _, colour in asked]) / 255
    every = np.array(list(COLOURS.values())) / 255
    for image, wanted in zip(images.numpy(), table, strict=True):
        bright = image[:, image.max(axis=0) > 0.4]
        seen = bright.mean(axis=1) / bright.mean(axis=1).max()
        nearest = every[np.linalg.norm(every - seen[None], axis=1).argmin()]
        assert np.array_equal(nearest, wanted)

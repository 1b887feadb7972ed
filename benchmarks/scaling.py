"""What FastCache keeps and moves, worked out from a model's size: the numbers of docs/scaling.md.

python3 -m benchmarks.scaling        prints the tables
"""

from __future__ import annotations

from dataclasses import dataclass

FLOAT = 4  # bytes
SPANS = 4  # of a list, at the level span
CORRECTOR = 6  # latents that the corrector keeps: three derivatives, what was moved, the last latent and its derivative
LEVELS = ("model_output", "stack", "span", "block", "sublayer")
# Bytes that element-wise kernels read and write, per number of the state, in times of its size:
ADD, ADD_DIFFERENCE = 3, 3  # y = h + r; y += w (r_a - r_b)


@dataclass(frozen=True)
class Shape:
    """A model at one resolution. image: its tokens; text: tokens of other kinds that go through the blocks as well;
    lists: how many blocks each list has; latent: numbers of one sample; branches: conditionings; samples: of a batch;
    parts: what all sub-layers of a block return together, in times of the block's tokens, 1 where they cannot be
    reached; size: bytes of a number."""

    image: int
    text: int
    width: int
    lists: tuple[int, ...]
    latent: int
    branches: int = 1
    samples: int = 1
    parts: int = 1
    size: int = 2

    @property
    def tokens(self) -> int:
        return self.image + self.text

    @property
    def blocks(self) -> int:
        return sum(self.lists)

    def state(self, tokens: int) -> int:
        """Bytes of so many tokens of every sample."""
        return self.samples * tokens * self.width * self.size


def kept_bytes(shape: Shape, level: str, order: int = 1, tokens: bool = False) -> int:
    """What a run keeps at most. order: differences of residuals; tokens: whether tokens are selected, which is
    counted for the levels stack and block."""
    latents = shape.samples * shape.latent * FLOAT
    if level == "model_output":
        return latents * (CORRECTOR + 1 + shape.branches * (1 + order))
    sites = {
        "stack": 0,  # beside the last one, of which the image is kept and no more
        "span": sum(min(SPANS, length) for length in shape.lists) - 1,
        "block": shape.blocks - 1,
    }
    if level == "sublayer":
        numbers = shape.parts * shape.blocks * shape.tokens
        numbers -= 0 if shape.parts > 1 else shape.text
    else:
        numbers = sites[level] * shape.tokens + shape.image
    residuals = shape.branches * (1 + order) * shape.state(numbers)
    selecting = selector_bytes(shape, level, order) if tokens else 0
    return latents * CORRECTOR + residuals + shape.state(shape.image) + selecting


def selector_bytes(shape: Shape, level: str, order: int = 1) -> int:
    """What selecting tokens adds: keys and values of every block, at most one difference of each, anchors and ages,
    sigmas of every token's anchors."""
    attended = shape.blocks * shape.tokens
    keys_values = 2 * ((1 + min(order, 1)) * shape.state(attended) + anchor_sigmas(shape, attended))
    view = shape.state(shape.image) + FLOAT * shape.samples * shape.image
    return view + shape.branches * (keys_values + anchor_sigmas(shape, residual_tokens(shape, level)))


def anchor_sigmas(shape: Shape, tokens: int) -> int:
    """Sigma of the anchor and distance to the one before, of so many tokens of every sample."""
    return 2 * FLOAT * shape.samples * tokens


def residual_tokens(shape: Shape, level: str) -> int:
    """Of the image's stream at all sites of one branch, whose residuals have anchors of their own."""
    if level == "stack":
        return shape.image
    if len(shape.lists) == 1:
        return shape.blocks * shape.tokens - shape.text
    # In a first list of two the text has a stream of its own; a joint one has all tokens, but for the last block.
    return shape.lists[0] * shape.image + sum(shape.lists[1:]) * shape.tokens - shape.text


def block_operations(shape: Shape) -> int:
    """Floating-point operations of one block for one branch: projections, an MLP of ratio 4, attention."""
    tokens = shape.tokens
    return shape.samples * tokens * (24 * shape.width**2 + 4 * tokens * shape.width)


def prediction_bytes(shape: Shape, order: int = 1) -> int:
    """Bytes moved to predict one block for one branch."""
    return (ADD + order * ADD_DIFFERENCE) * shape.state(shape.tokens)


def decision_bytes(shape: Shape) -> int:
    """Bytes moved at every evaluation and view: the relative change of the entry state, and its copy.

    Two states are read and their difference written; both are read, written in float32 and read for their norms; the
    copy is one read and one write.
    """
    elements = shape.samples * shape.image * shape.width
    widened = 2 * (shape.size + 2 * FLOAT) if shape.size < FLOAT else 2 * FLOAT
    return elements * (3 * shape.size + widened + 2 * shape.size)


def least_width(balance: float, length: int, part: float = 0.05, size: int = 2) -> float:
    """From which width on predicting a block takes at most this part of its time.

    balance: operations that the device does while it moves a byte. (6 size) / (24 width + 4 length) = part / balance
    """
    return max(0.0, ((ADD + ADD_DIFFERENCE) * size * balance / part - 4 * length) / 24)


def exchanged_numbers(sites: int, branches: int, samples: int = 1) -> int:
    """Float32 numbers of one rank's row in an evaluation's exchange: tokens, sigma, the norms of the change, and of
    every site and branch two norms and two numbers for each sample."""
    return 2 + 2 * samples + sites * branches * (2 + 2 * samples)


def exchanged_bytes(ranks: int, sites: int, branches: int, samples: int = 1) -> int:
    """The tensor that is summed over all ranks."""
    return FLOAT * ranks * exchanged_numbers(sites, branches, samples)


def flat(*sides: int) -> int:
    product = 1
    for side in sides:
        product *= side
    return product


SHAPES = {
    "Flux, 1024 x 1024": Shape(4096, 512, 3072, (19, 38), flat(16, 128, 128)),
    "Qwen-Image, 1328 x 1328": Shape(6889, 128, 3072, (60,), flat(16, 166, 166), branches=2, parts=2),
    "SD3.5 Large, 1024 x 1024": Shape(4096, 154, 2432, (38,), flat(16, 128, 128), branches=2),
    "Z-Image, 1024 x 1024": Shape(4096, 128, 3840, (30,), flat(16, 128, 128), parts=2),
    "Wan 2.x 14B, 832 x 480, 81 frames": Shape(32760, 0, 5120, (40,), flat(16, 21, 60, 104), branches=2, parts=3),
    "Wan 2.x 14B, 1280 x 720, 81 frames": Shape(75600, 0, 5120, (40,), flat(16, 21, 90, 160), branches=2, parts=3),
    "HunyuanVideo, 1280 x 720, 129 frames": Shape(118800, 256, 3072, (20, 40), flat(16, 33, 90, 160)),
    "LTX-Video 13B, 1216 x 704, 121 frames": Shape(13376, 0, 4096, (48,), flat(128, 16, 22, 38), branches=2, parts=3),
}


def gigabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"


def memory_table() -> str:
    """Bytes kept, by model and level."""
    lines = [f"| | branches | {' | '.join(LEVELS)} | stack, tokens selected |", "|---" * (3 + len(LEVELS)) + "|"]
    for name, shape in SHAPES.items():
        cells = [gigabytes(kept_bytes(shape, level)) for level in LEVELS]
        cells.append(gigabytes(kept_bytes(shape, "stack", tokens=True)))
        lines.append(f"| {name} | {shape.branches} | {' | '.join(cells)} |")
    return "\n".join(lines)


def work_table(balance: float = 300) -> str:
    """What is moved and computed, and the part of time that it is where so many operations are done per byte."""
    lines = ["| | tokens x width | a block | predicting it | part of its time | deciding, of an evaluation's blocks |",
             "|---" * 6 + "|"]  # fmt: skip
    for name, shape in SHAPES.items():
        operations, moved = block_operations(shape), prediction_bytes(shape)
        deciding = decision_bytes(shape) * balance / (operations * shape.blocks * shape.branches)
        lines.append(
            f"| {name} | {shape.tokens:,} x {shape.width:,} | {operations / 1e12:.2f} TFLOP | {gigabytes(moved)} | "
            f"{moved * balance / operations:.1%} | {deciding:.2%} |"
        )
    return "\n".join(lines)


def exchange_table(ranks: int = 8) -> str:
    """Bytes of an evaluation's exchange at two levels, beside those that one rank's attention hands on in one block."""
    lines = [f"| {ranks} ranks | level stack | level block | keys and values of one block, of one rank |",
             "|---" * 4 + "|"]  # fmt: skip
    for name, shape in SHAPES.items():
        sent = [exchanged_bytes(ranks, sites, shape.branches) for sites in (1, shape.blocks)]
        attention = 2 * shape.branches * shape.state(shape.tokens) // ranks
        lines.append(f"| {name} | {sent[0]:,} B | {sent[1]:,} B | {gigabytes(attention)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(memory_table(), work_table(), exchange_table(), sep="\n\n")

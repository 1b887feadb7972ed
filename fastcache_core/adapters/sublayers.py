"""The attention and MLP modules within blocks, for the level `sublayer`, and how much work they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

ATTENTION, CROSS_ATTENTION, MLP, TEXT_MLP = "attention", "cross_attention", "mlp", "text_mlp"
# Floating-point operations per token: times width squared, and times width and the tokens that attention sees. Four
# projections and an MLP four times as wide; of cross-attention, two, as the text's tokens are few.
WORK = {ATTENTION: (8, 4), CROSS_ATTENTION: (4, 0), MLP: (16, 0), TEXT_MLP: (16, 0)}


@dataclass(frozen=True)
class SubLayer:
    """A module that each block calls once, whose result is gated and added to the hidden state outside of it.

    name: within the block, `a.b` for one further in, `a|b` where some blocks have the one and some the other. kind:
    ATTENTION, CROSS_ATTENTION (to the text only), MLP, or TEXT_MLP, whose tokens are not the image's. streams: the
    arguments of which each comes back as a result of its shape, the image's first; none: the first argument only.
    returns: the same in the order in which they come back, where that is another one.
    """

    name: str
    kind: str
    streams: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()

    def path(self, block: nn.Module) -> str | None:
        """The module's name within this block, None where it has no such module."""
        for name in self.name.split("|"):
            try:
                found = block.get_submodule(name)
            except AttributeError:
                continue
            if found is not None:
                return name
        return None

"""OmniGen2: text, reference images and the image in one stream."""

from .family import BlockList, Family, last
from .grids import padded_square
from .sublayers import ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("attn", ATTENTION), SubLayer("feed_forward", MLP))
LAYERS = BlockList("layers", ("hidden_states",), joint=True, sublayers=SUBLAYERS)

OMNIGEN2 = Family(
    "omnigen2",
    ("comfy.ldm.omnigen.omnigen2.OmniGen2Transformer2DModel",),
    (LAYERS,),
    padded_square,
    last,
    per_token={"image_rotary_emb": 1},
)

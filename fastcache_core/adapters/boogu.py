"""Boogu: first blocks with text apart, whose image tokens attend to everything and then to themselves."""

from dataclasses import replace

from ..calls import SEQUENCE, STREAM
from .family import BlockList
from .omnigen2 import LAYERS, OMNIGEN2

DOUBLE = BlockList("double_stream_layers", ("img_hidden_states", "instruct_hidden_states"), attends=(SEQUENCE, STREAM))

BOOGU = replace(
    OMNIGEN2,
    name="boogu",
    classes=("comfy.ldm.boogu.model.BooguTransformer2DModel",),
    lists=(DOUBLE, replace(LAYERS, attribute="single_stream_layers")),
    per_token={"joint_rotary_emb": 1, "image_rotary_emb": 1},
    per_stream_token={"img_rotary_emb": 1},
)

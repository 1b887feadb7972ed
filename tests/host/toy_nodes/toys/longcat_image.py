from dataclasses import replace

from .flux import FLUX, UNET

LONGCAT = UNET | {"vec_in_dim": None, "txt_ids_dims": [1, 2]}
TOYS = {"longcat_image": replace(FLUX, config="LongCatImage", unet=LONGCAT)}

"""What the benchmark of overhead is asked for."""

import pytest

from benchmarks.overhead import options
from benchmarks.sizes import SIZES


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--sizes", "flux-1"], "there is no size flux-1; there are: flux-1024,"),
    (["--depth", "0"], "--depth is 0, but it must be above 0"),
    (["--steps", "2"], "it takes 8 steps"),
])  # fmt: skip
def test_what_cannot_be_measured_is_told(capsys, arguments, sentence):
    with pytest.raises(SystemExit):
        options(["--device", "cpu", *arguments])
    assert sentence in capsys.readouterr().err


def test_a_processor_gets_a_model_that_it_can_sample():
    given = options(["--device", "cpu"])
    assert given.sizes == ["narrow"] and given.depth == 1


def test_a_tenth_of_the_depth_leaves_a_block_of_every_list():
    tenth = SIZES["flux-1024"].of_depth(0.1)
    assert (tenth.unet["depth"], tenth.unet["depth_single_blocks"], tenth.blocks) == (2, 4, 6)
    assert SIZES["tiny"].of_depth(0.01).blocks == 2

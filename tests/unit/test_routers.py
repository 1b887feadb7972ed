"""Released routers of Learning-to-Cache are read as data; what would run code is refused; what we learn survives."""

import argparse
import io
import json
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file

from fastcache_core.calibration import pickled, routers
from fastcache_core.calibration.pickled import PickleError, read_saved
from fastcache_core.calibration.routers import Router, RouterError, read_released, router_of
from fastcache_core.calibration.schedules import gates, learned_router


def released(steps: int = 20, layers: int = 56) -> dict:
    """The layout of the released DiT files: every step has logits, only the even ones were trained."""
    generator = torch.Generator().manual_seed(0)
    table = OrderedDict((f"{i}.prob", torch.randn(layers, generator=generator)) for i in range(steps))
    args = argparse.Namespace(model="DiT-XL/2", lr=1e-3, l1=5e-6, resume=None, wandb=False)
    state = {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(layers)}}
    return {
        "routers": table,
        "opt": {"state": state, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]},
        "args": args,
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_a_released_file_gives_the_mask_of_the_papers_rule(tmp_path, zipped):
    saved = released()
    torch.save(saved, tmp_path / "dit.pt", _use_new_zipfile_serialization=zipped)
    router = read_released(tmp_path / "dit.pt")
    assert (router.evaluations, router.layers, sorted(router.logits)) == (20, 56, list(range(0, 20, 2)))
    rows = router.computed(theta=0.1)
    for place, row in enumerate(reversed(rows)):
        wanted = torch.sigmoid(saved["routers"][f"{place}.prob"]) > 0.1 if place % 2 == 0 else torch.ones(56)
        assert row == wanted.int().tolist()


def test_layers_removed_are_counted_as_the_paper_does():
    """DiT-XL/2 with 50 steps of DDIM: 664 of the 1400 sub-layers at cached steps."""
    table = {place: torch.full((56,), 5.0) for place in range(0, 50, 2)}
    for i in range(664):
        table[2 * (i // 56)][i % 56] = -5.0
    router = Router(table, 50)
    assert router.removed() == (664, 1400)
    assert router.describe() == "47.43 % of layers removed on cached evaluations (664 of 1400)"


def test_a_bare_mapping_caches_the_second_evaluation_of_every_step_but_the_first(tmp_path):
    torch.save(OrderedDict((f"{i}.prob", torch.full((58,), -5.0)) for i in range(25)), tmp_path / "uvit.pth")
    router = read_released(tmp_path / "uvit.pth")
    assert router.removed(0.9) == (24 * 58, 24 * 58)
    assert [any(row) for row in router.computed(0.9)] == [True] * 3 + [False, True] * 23 + [False]


def test_parameters_strides_and_attributes_are_read():
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    args = argparse.Namespace(a=1, b=[True, None])
    buffer = io.BytesIO()
    torch.save(
        {"w": weight, "t": weight.data.T, "half": torch.ones(2).half(), "args": args, "none": torch.zeros(0)}, buffer
    )
    saved = read_saved(buffer.getvalue())
    assert saved["w"].tolist() == weight.tolist() and saved["t"].tolist() == weight.T.tolist()
    assert saved["half"].tolist() == [1, 1] and saved["args"] == {"a": 1, "b": [True, None]} and saved["none"].size == 0


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Inside:
    """Its attributes are set, which may call a method of its class."""

    def __setstate__(self, state):
        os.mkdir(state)

    def __init__(self, path):
        self.path = path

    def __getstate__(self):
        return str(self.path)


@pytest.mark.parametrize("hostile", [Hostile, Inside])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path, hostile, protocol, zipped):
    trap = tmp_path / "trap"
    saved = released() | {"opt": hostile(trap)}
    torch.save(saved, tmp_path / "bad.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(RouterError, match="which data do not need"):
        read_released(tmp_path / "bad.pt")
    assert not trap.exists()
    torch.load(tmp_path / "bad.pt", weights_only=False)
    assert trap.exists(), "the trap works where files are unpickled"


def test_damaged_files_are_refused_with_a_sentence(tmp_path):
    path = tmp_path / "router.pt"
    torch.save(released(), path)
    whole = path.read_bytes()
    for content in (
        b"",
        b"hello",
        whole[:100],
        whole[:-200],
        pickle.dumps([1] * 3),
        pickle.dumps(0x1950A86A20F9469CFC6C),
    ):
        path.write_bytes(content)
        with pytest.raises(RouterError, match=r"router\.pt.*\."):
            read_released(path)
    with pytest.raises(RouterError, match="could not be read"):
        read_released(tmp_path / "nowhere.pt")
    torch.save({"0.weight": torch.ones(3)}, path)
    with pytest.raises(RouterError, match="named like"):
        read_released(path)


def zipped(program, numbers=b""):
    """A file of torch.save with this program."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/data/0", numbers)
    return buffer.getvalue()


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize("program", [
    b"I5\n(I1\nu.",  # items of a number
    b"}I1\na.",  # appended to a dictionary
    b"t.",  # a tuple that never began
    REBUILD + b"(I5\nI0\n(I1\nt(I1\nttR.",  # a tensor of a number in place of a storage
    b"(X\x07\x00\x00\x00storageI5\nX\x01\x00\x00\x000tQ.",
    b"I1\n",  # no end
])  # fmt: skip
def test_programs_that_make_no_sense_are_refused_with_a_sentence(program):
    with pytest.raises(PickleError):
        read_saved(zipped(program))


def test_archives_that_cannot_be_unpacked_are_refused_with_a_sentence():
    content = bytearray(zipped(b"N."))
    for at in range(0, len(content), 3):
        damaged = content.copy()
        damaged[at] ^= 0xFF
        with suppress(PickleError):
            read_saved(bytes(damaged))
    flags = content.index(b"PK\x01\x02") + 8
    content[flags] |= 1  # encrypted, says the directory
    content[6] |= 1
    with pytest.raises(PickleError):
        read_saved(bytes(content))


def test_many_tensors_of_the_same_numbers_are_not_unpacked(monkeypatch):
    numbers = torch.zeros(1000)
    buffer = io.BytesIO()
    torch.save([numbers.view(1000, 1)[:, 0] for _ in range(50)], buffer)
    assert len(read_saved(buffer.getvalue())) == 50
    monkeypatch.setattr(pickled, "LARGEST", 20_000)
    with pytest.raises(PickleError, match="tensors take more than the 20000 bytes"):
        read_saved(buffer.getvalue())


@pytest.mark.parametrize(("logits", "places", "evaluations"), [
    (torch.zeros(3), torch.arange(3), 3),
    (torch.zeros(3, 2), torch.arange(3.0), 3),
    (torch.zeros(3, 2), torch.arange(6).reshape(3, 2), 3),
    (torch.zeros(3, 2), torch.arange(3), None),
    (torch.zeros(3, 2), torch.arange(3), 1e999),
    (torch.zeros(3, 2), torch.arange(3), 10**9),
])  # fmt: skip
def test_routers_of_strangers_are_refused_with_a_sentence(tmp_path, logits, places, evaluations):
    header = {"schema": routers.SCHEMA, "evaluations": evaluations}
    save_file({"logits": logits, "places": places}, tmp_path / "r.safetensors", {"fastcache": json.dumps(header)})
    with pytest.raises(RouterError, match=r"r\.safetensors"):
        Router.load(tmp_path / "r.safetensors")


def test_a_router_that_cannot_be_written_is_told_in_a_sentence(tmp_path):
    with pytest.raises(RouterError, match="could not be written"):
        router_of(torch.zeros(2, 2)).save(tmp_path / "nowhere" / "r.safetensors")


def test_a_tensor_that_is_larger_than_its_numbers_is_refused():
    buffer = io.BytesIO()
    torch.save(torch.ones(1).expand(10**9), buffer)
    with pytest.raises(PickleError, match="outside of its numbers"):
        read_saved(buffer.getvalue())


def test_a_learned_router_exported_and_loaded_gives_the_same_mask(tmp_path):
    table = torch.rand(6, 11, 3, generator=torch.Generator().manual_seed(1))
    logits = learned_router(table, threshold=0.5)
    router = router_of(logits)
    assert router.computed() == gates(logits)
    router.save(tmp_path / "ours.safetensors")
    again = Router.load(tmp_path / "ours.safetensors")
    assert again.computed() == gates(logits)
    assert again.describe() == router.describe()
    sigmas = [1 - e / 11 for e in range(11)]
    assert again.schedule(sigmas).computed == gates(logits)
    with pytest.raises(RouterError, match="for 11 evaluations, but 10"):
        again.schedule(sigmas[1:])


def test_the_command_converts_and_says_what_it_found(tmp_path, monkeypatch, capsys):
    torch.save(released(), tmp_path / "in.pt")
    monkeypatch.setattr(
        sys, "argv", ["routers", str(tmp_path / "in.pt"), str(tmp_path / "out.safetensors"), "--theta", "0.5"]
    )
    routers.main()
    assert "20 evaluations" in capsys.readouterr().out
    assert Router.load(tmp_path / "out.safetensors").computed() == read_released(tmp_path / "in.pt").computed()

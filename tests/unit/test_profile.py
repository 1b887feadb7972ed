import json
import math
import pickle
import stat

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from fastcache_core import profile as profile_module
from fastcache_core.curves import Curves
from fastcache_core.linear import Full, LowRank, PerChannel
from fastcache_core.profile import Profile, ProfileError, Schedule

BLOCKS = ["double 0", "double 1", "single 0"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def toy(**changed):
    """Three blocks of width 2, a map of each kind."""
    maps = {
        (1, 1, "img"): PerChannel(torch.tensor([1.0, 2.0])),
        (0, 2, "img"): LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]])),
        (0, 1, "txt"): Full(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).half()),
    }
    given = {
        "family": "flux",
        "width": 2,
        "blocks": BLOCKS,
        "made_for": {"model": "toy", "steps": 20, "cfg": 3.5, "sampler": "euler"},
        "linear": maps,
        "schedule": Schedule([1.0, 0.5], [[1, 1, 1], [0, 0, 1]], [[0.0, 0.0], [0.75, 0.5]]),
        "curves": Curves([1.0, 0.5], {"ratio": [1.0, 0.9]}, {"polynomial": [2.0, 0.0, 1.0]}),
        "changes": torch.tensor([[[0.1, 0.2], [0.3, 0.0]]] * 3),
        "parts": ["mlp 0", "mlp 1"],
        "part_changes": torch.tensor([[[0.5, 0.25]], [[0.0, 1.0]]]),
        "scores": {"explained": [0.5, 0.25, 0.0], "decibels": 40.5},
        "block_thresholds": "double: 0.1\nsingle: 0.2",
    }
    return Profile(**{**given, **changed})


def contents(path):
    """JSON header and tensors of a profile's file."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["fastcache"]), {name: file.get_tensor(name) for name in file.keys()}


def same(one, other):
    """Whether two profiles agree, tensors bit by bit."""
    plain = ("family", "width", "blocks", "made_for", "schedule", "block_thresholds", "curves", "scores", "parts")
    if any(getattr(one, name) != getattr(other, name) for name in plain) or one.linear.keys() != other.linear.keys():
        return False
    for name in ("changes", "part_changes"):
        tables = [table for table in (getattr(one, name), getattr(other, name)) if table is not None]
        if len(tables) == 1 or (tables and not torch.equal(*tables)):
            return False
    pairs = [(one.linear[key], other.linear[key]) for key in one.linear]
    return all(
        type(a) is type(b) and all(torch.equal(t, b.tensors()[n]) and t.dtype == b.tensors()[n].dtype for n, t in parts)
        for a, b in pairs
        for parts in [a.tensors().items()]
    )


def refusal_of(path):
    with pytest.raises(ProfileError) as refusal:
        Profile.load(path)
    sentence = str(refusal.value)
    assert str(path) in sentence
    assert sentence.endswith(".")
    return sentence


# Round trips.


def numbers(seed, dtype, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@st.composite
def maps(draw, width):
    dtype, seed, kind = draw(st.sampled_from(DTYPES)), draw(st.integers(0, 99)), draw(st.integers(0, 2))
    rank = draw(st.integers(1, 3))
    if kind == 0:
        return PerChannel(numbers(seed, dtype, width))
    if kind == 1:
        return LowRank(numbers(seed, dtype, width, rank), numbers(seed + 1, dtype, rank, width))
    return Full(numbers(seed, dtype, width, width))


NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable() and name.strip())
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def profiles(draw):
    width, blocks = draw(st.integers(1, 4)), draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    first = st.integers(0, len(blocks) - 1)
    ranges = st.tuples(first, first, st.sampled_from(["img", "txt", "a_1"])).filter(lambda key: key[0] <= key[1])
    bits = st.lists(st.integers(0, 1), min_size=len(blocks), max_size=len(blocks))
    evaluations = draw(st.lists(st.tuples(st.floats(0, 1e4), bits), min_size=1, max_size=3))
    sigmas, rows = [sigma for sigma, _ in evaluations], [row for _, row in evaluations]
    pair = st.lists(st.floats(-8, 8), min_size=2, max_size=2)
    factors = draw(st.none() | st.lists(pair, min_size=len(rows), max_size=len(rows)))
    whole = draw(st.booleans()) and all(len(set(row)) == 1 for row in rows)
    schedule = Schedule(sigmas, rows, factors, whole)
    along = st.lists(st.floats(0, 9), min_size=len(rows), max_size=len(rows))
    curves = Curves(sigmas, draw(st.dictionaries(NAMES, along, max_size=2)), {"polynomial": [1.0, 0.5]})
    changes = torch.rand(len(blocks), len(rows), 2)
    return Profile(
        draw(NAMES),
        width,
        blocks,
        draw(st.dictionaries(NAMES, NAMES | NUMBERS, max_size=3)),
        draw(st.dictionaries(ranges, maps(width), max_size=4)),
        draw(st.sampled_from([None, schedule])),
        curves=draw(st.sampled_from([None, curves])),
        changes=draw(st.sampled_from([None, changes])),
        scores=draw(st.dictionaries(NAMES, NUMBERS, max_size=2)),
        block_thresholds=draw(st.none() | NAMES),
    )


@given(profiles())
def test_what_is_saved_is_loaded(tmp_path_factory, profile):
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    profile.save(path)
    assert same(Profile.load(path), profile)


def test_the_file_is_what_the_module_says(tmp_path):
    toy().save(tmp_path / "toy.safetensors")
    header, tensors = contents(tmp_path / "toy.safetensors")
    assert header["schema"] == "fastcache.profile/1"
    assert header["linear"] == {"1-1.img": "per_channel", "0-2.img": "low_rank", "0-1.txt": "full"}
    rows, factors = [[1, 1, 1], [0, 0, 1]], [[0.0, 0.0], [0.75, 0.5]]
    assert header["schedule"] == {"sigmas": [1.0, 0.5], "computed": rows, "factors": factors, "whole": False}
    polynomial = {"polynomial": [2.0, 0.0, 1.0]}
    assert header["curves"] == {"sigmas": [1.0, 0.5], "values": {"ratio": [1.0, 0.9]}, "coefficients": polynomial}
    maps = ["linear.0-1.txt.matrix", "linear.0-2.img.down", "linear.0-2.img.up", "linear.1-1.img.scale"]
    assert sorted(tensors) == ["changes", *maps, "part_changes"]
    assert tensors["linear.0-1.txt.matrix"].tolist() == [[1, 2], [3, 4]]


def test_a_profile_without_maps_is_a_file_too(tmp_path):
    bare = Profile("flux", 2, BLOCKS)
    bare.save(tmp_path / "bare.safetensors")
    assert same(Profile.load(tmp_path / "bare.safetensors"), bare)


def test_maps_may_share_tensors_and_be_turned(tmp_path):
    shared, turned = PerChannel(torch.ones(2)), Full(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T)
    profile = toy(linear={(0, 0, "img"): shared, (1, 1, "img"): shared, (2, 2, "img"): turned})
    profile.save(tmp_path / "shared.safetensors")
    assert same(Profile.load(tmp_path / "shared.safetensors"), profile)


def test_loaded_maps_do_not_hang_on_the_file(tmp_path):
    path = tmp_path / "toy.safetensors"
    toy().save(path)
    loaded = Profile.load(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert same(loaded, toy())


# Saving.


def test_a_new_profile_takes_the_old_one_s_place_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "toy.safetensors"
    toy().save(path)
    toy(family="chroma").save(path)
    assert Profile.load(path).family == "chroma"
    assert list(tmp_path.iterdir()) == [path]


def test_when_writing_fails_the_old_profile_stays(tmp_path, monkeypatch):
    path = tmp_path / "toy.safetensors"
    toy().save(path)

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(profile_module, "save_file", full)
    with pytest.raises(ProfileError, match="could not be written .*No space left on device.*folder"):
        toy(family="chroma").save(path)
    assert Profile.load(path).family == "flux"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("where", ["absent/toy.safetensors", "file/toy.safetensors"])
def test_a_folder_that_is_not_there_is_refused_with_a_sentence(tmp_path, where):
    (tmp_path / "file").touch()
    with pytest.raises(ProfileError, match="could not be written"):
        toy().save(tmp_path / where)


def test_others_may_read_a_profile_as_any_other_file(tmp_path):
    toy().save(tmp_path / "toy.safetensors")
    (tmp_path / "other").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("toy.safetensors", "other")]
    assert modes[0] == modes[1]


# Fitting a model.


def test_a_profile_of_this_model_fits():
    assert toy().why_not("flux", tuple(BLOCKS), 2) is None


@pytest.mark.parametrize(
    ("family", "blocks", "width", "words"),
    [
        ("chroma", BLOCKS, 2, "of a flux model, but the loaded model is chroma"),
        ("flux", BLOCKS[:2], 2, "of 3 blocks, but the loaded model has 2"),
        ("flux", ["double 0", "single 0", "single 1"], 2, "Block 1 is 'double 1' in the profile, but 'single 0' in"),
        ("flux", BLOCKS, 4, "of width 2, but the loaded model is 4 wide"),
    ],
)
def test_a_profile_of_another_model_says_why_it_does_not_fit(family, blocks, width, words):
    sentence = toy().why_not(family, blocks, width)
    assert words in sentence
    assert sentence.endswith("calibrate this model, or load the profile's own.")


# Refusing what is invalid, in memory.

ONES = PerChannel(torch.ones(2))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"family": " "}, "The family is ' ', but it must be a name"),
        ({"width": 0}, "The width is 0, but it must be a whole number from 1"),
        ({"width": True}, "The width is True"),
        ({"blocks": []}, "The blocks are [], but they must be a list of names"),
        ({"blocks": "double 0"}, "The blocks are 'double 0'"),
        ({"blocks": ["a", "b", "a"]}, "'a' is listed 2 times in the blocks"),
        ({"blocks": ["a", "b\ud800", "c"]}, "must be a list of names"),
        ({"made_for": ["toy"]}, "made_for is ['toy'], but it must map names to text or numbers"),
        ({"made_for": {"cfg": math.inf}}, "made_for has cfg = inf, but it must be text or a finite number"),
        ({"made_for": {"seed": 10**400}}, "made_for has seed = 1000"),
        ({"made_for": {"model": None}}, "made_for has model = None"),
        ({"made_for": {"model": "a\x00"}}, "made_for has model = 'a\\x00'"),
        ({"linear": {(0, 3, "img"): ONES}}, "The range '0-3.img' does not lie within blocks 0 to 2"),
        ({"linear": {(2, 1, "img"): ONES}}, "The range '2-1.img' does not lie within blocks 0 to 2, or is reversed"),
        ({"linear": {(-1, 1, "img"): ONES}}, "The range '-1-1.img' is not like '0-15.img'"),
        ({"linear": {(0, 1, "a.b"): ONES}}, "The range '0-1.a.b' is not like"),
        ({"linear": {(0, 1): ONES}}, "The range (0, 1) is not like (0, 15, 'img')"),
        ({"linear": {(0, 1, "img"): torch.ones(2)}}, "The map of '0-1.img' is Tensor, but it must be a linear map"),
        ({"linear": {(0, 1, "img"): PerChannel(torch.ones(3))}}, "'0-1.img' is 3 wide, but the profile's width is 2"),
        ({"linear": {(0, 1, "img"): PerChannel(torch.tensor([1, math.nan]))}}, "linear.0-1.img.scale has a NaN or"),
        ({"linear": {(0, 1, "img"): Full(torch.full((2, 2), math.inf))}}, "linear.0-1.img.matrix has a NaN or an inf"),
        ({"parts": ["mlp 0"] * 2}, "'mlp 0' is listed 2 times in the parts, but names must differ"),
        ({"parts": ["mlp 0"]}, "The change table has the shape [2, 1, 2], but it must be [1, evaluations, gaps]"),
        ({"parts": []}, "The parts are [], but they must be a list of names"),
        (
            {"changes": torch.zeros(2, 3, 1)},
            "The change table has the shape [2, 3, 1], but it must be [3, evaluations,",
        ),
        ({"changes": torch.full((3, 1, 1), math.nan)}, "numbers in it that are negative, NaN or infinite"),
        ({"schedule": Schedule([1.0], [])}, "The schedule has 0 evaluations for 1 sigmas"),
        ({"schedule": Schedule([], [])}, "The schedule has 0 evaluations for 0 sigmas"),
        ({"schedule": Schedule([1.0], [[1] * 3] * 2)}, "The schedule has 2 evaluations for 1 sigmas, but it needs one"),
        ({"schedule": Schedule([1.0], 7)}, "The schedule has 7 evaluations"),
        ({"schedule": Schedule([1.0], [[1, 1]])}, "Evaluation 0 of the schedule is [1, 1], but it must be a list of 3"),
        ({"schedule": Schedule([1.0], [[1, 1, 2]])}, "Evaluation 0 of the schedule is [1, 1, 2]"),
        ({"schedule": Schedule([1.0], [[1, 1, True]])}, "Evaluation 0 of the schedule is [1, 1, True]"),
        ({"schedule": Schedule([math.nan], [[1, 1, 1]])}, "sigmas are [nan], but they must be a list of numbers from"),
        ({"schedule": Schedule([-1.0], [[1, 1, 1]])}, "sigmas are [-1.0]"),
        ({"schedule": Schedule(None, [[1, 1, 1]])}, "sigmas are None"),
        (
            {"schedule": Schedule([1.0], [[1, 1, 1]], whole=1)},
            "The schedule's whole is 1, but it must be true or false",
        ),
        (
            {"schedule": Schedule([1.0], [[1, 1, 0]], whole=True)},
            "but it computes some blocks where it predicts others",
        ),
        ({"block_thresholds": 0.1}, "The block_thresholds are 0.1, but they must be text"),
    ],
)
def test_an_invalid_profile_is_refused_with_a_sentence(changed, words):
    with pytest.raises(ProfileError) as refusal:
        toy(**changed)
    assert words in str(refusal.value)
    assert str(refusal.value).endswith(".")


# Refusing what is invalid, in a file.


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "toy.safetensors"
    toy().save(path)
    return path


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("schema", "fastcache.profile/2", "written by a newer FastCache; this one reads fastcache.profile/1. Update"),
        ("schema", "fastcache.report/1", "The schema is 'fastcache.report/1', but it must be 'fastcache.profile/1'"),
        ("schema", "fastcache.profile/1.5", "The schema is 'fastcache.profile/1.5'"),
        ("schema", 1, "The schema is 1, but it must be"),
        ("family", None, "The family is None"),
        ("width", 3, "is 2 wide, but the profile's width is 3"),
        ("width", 2.0, "The width is 2.0"),
        ("blocks", {"a": 1}, "The blocks are {'a': 1}"),
        ("blocks", BLOCKS[:2], "The range '0-2.img' does not lie within blocks 0 to 1"),
        ("made_for", [], "made_for is []"),
        ("linear", [], "linear is [], but it must map ranges to kinds of maps"),
        ("linear", {}, "do not belong to a profile"),
        ("linear", {"1-1.img": []}, "The map of '1-1.img' is [], but it must be one of: per_channel, low_rank, full"),
        ("linear", {"1-1.img": "cubic"}, "The map of '1-1.img' is 'cubic'"),
        ("linear", {"1-1.img": "full"}, "The tensors ['linear.1-1.img.matrix'] are missing"),
        (
            "schedule",
            {"sigmas": [1.0]},
            "The schedule is {'sigmas': [1.0]}, but it must have sigmas, computed, factors",
        ),
        ("schedule", {"sigmas": [math.nan], "computed": [[1, 1, 1]], "factors": None}, "sigmas are [nan]"),
        ("schedule", {"sigmas": [1.0], "computed": [[1]], "factors": None}, "Evaluation 0 of the schedule is [1]"),
        (
            "schedule",
            {"sigmas": [1.0], "computed": [[1] * 3], "factors": [[1.0]]},
            "factors are [[1.0]], but they must",
        ),
        (
            "schedule",
            {"sigmas": [1.0], "computed": [[1] * 3], "factors": [[0.5, -1e30]]},
            "A factor of the schedule is 1e+30, beyond 8",
        ),
        ("curves", {"sigmas": [1.0], "values": {}, "coefficients": {"a": 1.0}}, "The coefficients 'a' are 1.0, but"),
        ("curves", {"sigmas": [1.0], "values": {}, "coefficients": {"a": []}}, "The coefficients 'a' are [], but"),
        ("curves", {"sigmas": []}, "The curves is {'sigmas': []}, but it must have sigmas, values, coefficients"),
        ("curves", {"sigmas": [], "values": {}, "coefficients": {}}, "sigmas are [], but they must be a list"),
        ("curves", {"sigmas": [1.0], "values": {"a": []}, "coefficients": {}}, "The curve 'a' is [], but it must have"),
        ("curves", {"sigmas": [1.0], "values": {}, "coefficients": {"a": ["x"]}}, "coefficients have a = ['x']"),
        ("scores", {"a": "x"}, "The scores have a = 'x', but it must be a number, or a list"),
        ("scores", 7, "The scores are 7, but they must map names to numbers"),
        ("block_thresholds", 1, "The block_thresholds are 1"),
        ("colour", "red", "The entries ['colour'] do not belong to a profile"),
    ],
)
def test_a_file_with_an_invalid_entry_is_refused(path, entry, value, words):
    header, tensors = contents(path)
    save_file(tensors, path, {"fastcache": json.dumps({**header, entry: value})})
    assert words in refusal_of(path)


@pytest.mark.parametrize("entry", ["family", "width", "blocks", "made_for", "linear", "schedule", "block_thresholds",
                                   "curves", "scores"])  # fmt: skip
def test_a_file_without_an_entry_is_refused(path, entry):
    header, tensors = contents(path)
    del header[entry]
    save_file(tensors, path, {"fastcache": json.dumps(header)})
    assert f"The entries ['{entry}'] are missing. Fetch the file again" in refusal_of(path)


@pytest.mark.parametrize("name", ["01-1.img", "1-1", "1-1.img.img", "1-1.\u0663", "9999999-9999999.img"])
def test_a_range_by_another_name_is_refused(path, name):
    header, _ = contents(path)
    header["linear"] = {name: "per_channel"}
    save_file({f"linear.{name}.scale": torch.ones(2)}, path, {"fastcache": json.dumps(header)})
    assert "is not like '0-15.img'" in refusal_of(path)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("linear.0-2.img.up", None, "The tensors ['linear.0-2.img.up'] are missing"),
        ("linear.0-0.img.scale", torch.ones(2), "The tensors ['linear.0-0.img.scale'] do not belong to a profile"),
        ("linear.1-1.img.scale", torch.ones(3), "The map of '1-1.img' is 3 wide, but the profile's width is 2"),
        ("linear.1-1.img.scale", torch.ones(2, 2), "'1-1.img' is invalid: scale has the shape [2, 2]"),
        ("linear.0-2.img.up", torch.ones(2, 3), "'0-2.img' is invalid: down has the shape [1, 2]"),
        ("linear.0-2.img.up", torch.ones(2, 1).half(), "'0-2.img' is invalid: A map has one dtype"),
        ("linear.0-1.txt.matrix", torch.full((2, 2), math.nan), "linear.0-1.txt.matrix has a NaN or an infinity"),
        ("linear.0-1.txt.matrix", torch.full((2, 2), -math.inf).bfloat16(), "has a NaN or an infinity"),
        (
            "linear.0-1.txt.matrix",
            torch.ones(2, 2).double(),
            "linear.0-1.txt.matrix is F64, but it must be one of",
        ),
        ("linear.0-1.txt.matrix", torch.ones(2, 2).long(), "linear.0-1.txt.matrix is I64"),
        ("linear.0-1.txt.matrix", torch.ones(2, 2).to(torch.float8_e4m3fn), "linear.0-1.txt.matrix is F8_E4M3"),
    ],
)
def test_a_file_with_an_invalid_tensor_is_refused(path, name, tensor, words):
    header, tensors = contents(path)
    tensors[name] = tensor
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, path, {"fastcache": json.dumps(header)})
    sentence = refusal_of(path)
    assert words in sentence
    assert sentence.endswith("Fetch the file again, or calibrate again.")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_model_s_own_file_is_no_profile(path, metadata):
    save_file({"weight": torch.ones(2)}, path, metadata)
    assert "has no metadata 'fastcache', so it is no FastCache profile. Choose another file." in refusal_of(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"width": ' + "1" * 5000 + "}"])
def test_metadata_that_are_not_json_are_refused(path, text):
    save_file({"weight": torch.ones(2)}, path, {"fastcache": text})
    assert "The metadata 'fastcache' are not JSON" in refusal_of(path)


@pytest.mark.parametrize("text", ["[]", "null", "{}", '"fastcache.profile/1 "'])
def test_json_of_something_else_is_refused(path, text):
    save_file({"weight": torch.ones(2)}, path, {"fastcache": text})
    assert "but it must be 'fastcache.profile/1'. Choose another file." in refusal_of(path)


def raises_when_unpickled():
    raise AssertionError("executed what a file says")


class Trap:
    def __reduce__(self):
        return raises_when_unpickled, ()


@pytest.mark.parametrize("data", [b"", b"text", b"\xff" * 64, pickle.dumps(Trap())])
def test_something_else_is_refused_and_never_executed(path, data):
    path.write_bytes(data)
    assert "is cut short, or no safetensors file at all" in refusal_of(path)


def test_a_file_of_torch_save_is_refused(path):
    torch.save({"x": torch.ones(2)}, path)
    assert "no safetensors file at all" in refusal_of(path)


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path):
    assert "could not be read" in refusal_of(tmp_path / "absent.safetensors")
    assert "could not be read" in refusal_of(tmp_path)


def test_a_file_cut_short_anywhere_is_refused(path):
    data = path.read_bytes()
    for length in [*range(16), *range(16, len(data), 37), *range(len(data) - 16, len(data))]:
        path.write_bytes(data[:length])
        assert "is cut short" in refusal_of(path)


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_header_is_refused_or_harmless(tmp_path_factory, damage):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    toy().save(path)
    data = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    for where, byte in damage:
        data[int(where * header)] = byte
    path.write_bytes(data)
    try:
        assert isinstance(Profile.load(path), Profile)
    except ProfileError as error:
        assert str(path) in str(error)

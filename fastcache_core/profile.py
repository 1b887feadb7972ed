"""What calibration learned about one model, in one .safetensors file.

The safetensors metadata hold one key, `fastcache`, with everything but the maps' numbers as JSON:

    {"schema": "fastcache.profile/1", "family": "flux", "width": 3072, "blocks": ["double 0", "double 1", ...],
     "made_for": {"model": "flux1-dev", "steps": 20}, "linear": {"3-3.img": "per_channel", "0-15.img": "low_rank"},
     "schedule": {"sigmas": [1.0, ...], "computed": [[1, 1, ...], ...], "factors": [[0.8, 0.3], ...] or null,
                  "whole": false} or null,
     "block_thresholds": text or null,
     "curves": {"sigmas": [1.0, ...], "values": {"ratio": [...]}, "coefficients": {"name": [...]}} or null,
     "scores": {"explained": [0.6, ...]}, "parts": ["attention 0", ...]}

The tensors are those of the maps (linear.py), named `linear.3-3.img.scale`, `linear.0-15.img.up`: first and last block
of what is predicted at once, the stream, the map's tensor; and `changes` and `part_changes`, if there are any. Files
come from strangers, so everything is checked, and nothing in them is executed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from reprlib import repr as short
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .curves import Curves
from .linear import KINDS, LinearMap
from .predictors import LARGEST_FACTOR
from .schedule import Schedule

SCHEMA, VERSION = "fastcache.profile", 1
KEY = "fastcache"  # the one metadata key
DTYPES = ("F16", "BF16", "F32")  # as safetensors calls them
# Entries that are JSON already.
AS_IT_IS = ("family", "width", "blocks", "made_for", "block_thresholds", "scores", "parts")
ENTRIES = {"schema", "linear", "schedule", "curves", *AS_IT_IS}
TABLES = ("changes", "part_changes")  # names of tensors that are no maps
AGAIN = "Fetch the file again, or calibrate again."

# `0-15.img`. Numbers without leading zeros and streams without dots: one name for one range.
RANGE = re.compile(r"(0|[1-9][0-9]{0,5})-(0|[1-9][0-9]{0,5})\.([A-Za-z][A-Za-z0-9_]*)")

RangeKey = tuple[int, int, str]  # first block, last block, stream


class ProfileError(ValueError):
    """A profile, or a file that should be one, is invalid; says in a sentence which, why, and what to do."""


@dataclass(frozen=True, eq=False)
class Profile:
    """What was learned, and about what. ProfileError when anything in it is invalid.

    family: the adapter's name for the model family. width: of the hidden state. blocks: names of all blocks in order,
    such as "double 0". made_for: what it was calibrated with (model, steps, sampler, cfg, ...), text and numbers.
    linear: a map per (first block, last block, stream), the indices of the blocks predicted at once and the stream's
    name, such as (0, 15, "img"). schedule: which blocks to compute when. block_thresholds: kept as they are. curves:
    numbers along the schedule. changes [blocks, evaluations, gap]: mean |y[e + g] - y[e]| / mean |y[e]| of what each
    block adds at evaluation e, g = 1, 2, ...; 0 beyond the end. parts, part_changes: names of the blocks' attention and
    MLP modules, and the same of what these return. scores: measured at calibration, for people.
    """

    family: str
    width: int
    blocks: list[str]
    made_for: dict[str, str | int | float] = field(default_factory=dict)
    linear: dict[RangeKey, LinearMap] = field(default_factory=dict)
    schedule: Schedule | None = None
    block_thresholds: str | None = None
    curves: Curves | None = None
    changes: Tensor | None = None
    scores: dict[str, float | list[float]] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    part_changes: Tensor | None = None

    def __post_init__(self) -> None:
        if not _is_name(self.family):
            raise ProfileError(f"The family is {short(self.family)}, but it must be a name.")
        if type(self.width) is not int or self.width < 1:
            raise ProfileError(f"The width is {short(self.width)}, but it must be a whole number from 1.")
        _check_names("blocks", self.blocks)
        _check_made_for(self.made_for)
        for key, linear in self.linear.items():
            _check_range(key, len(self.blocks))
            _check_map(_range_name(key), linear, self.width)
        if self.schedule is not None:
            _check_schedule(self.schedule, len(self.blocks))
        if self.block_thresholds is not None and not _is_text(self.block_thresholds):
            found = short(self.block_thresholds)
            raise ProfileError(f"The block_thresholds are {found}, but they must be text.")
        if self.curves is not None:
            _check_curves(self.curves)
        if self.changes is not None:
            _check_changes(self.changes, len(self.blocks))
        if self.parts or self.part_changes is not None:
            _check_names("parts", self.parts)
            _check_changes(self.part_changes, len(self.parts))
        _check_numbers("scores", self.scores)

    def of_the_whole_model(self) -> Profile:
        """What it says where the model's output is predicted: which evaluations to compute, but nothing that was
        fitted to the work of blocks."""
        schedule = self.schedule
        if schedule is not None and not schedule.whole:
            schedule = replace(schedule, factors=None)
        return replace(self, linear={}, schedule=schedule)

    def why_not(self, family: str, blocks: Sequence[str], width: int) -> str | None:
        """Why this profile does not fit the loaded model, in a sentence, or None."""
        cure = "calibrate this model, or load the profile's own."
        if family != self.family:
            return f"The profile is of a {self.family} model, but the loaded model is {family}; {cure}"
        if len(blocks) != len(self.blocks):
            return f"The profile is of {len(self.blocks)} blocks, but the loaded model has {len(blocks)}; {cure}"
        for i, (own, other) in enumerate(zip(self.blocks, blocks, strict=True)):
            if own != other:
                return f"Block {i} is '{own}' in the profile, but '{other}' in the loaded model; {cure}"
        if width != self.width:
            return f"The profile is of width {self.width}, but the loaded model is {width} wide; {cure}"
        return None

    def save(self, path: str | os.PathLike) -> None:
        """Write the file, in place of one that is there, which stays whole when writing fails: ProfileError."""
        path = Path(path)
        written = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            _write(written, self._tensors(), {KEY: json.dumps(self._header())})
            os.replace(written, path)
        except (OSError, SafetensorError) as error:
            raise ProfileError(
                f"{path} could not be written ({error}). Check that the folder is there, is not full and can be "
                "written to, and that no other program has the file open."
            ) from error
        finally:
            with suppress(OSError):  # nothing is there once it was moved
                written.unlink()

    @classmethod
    def load(cls, path: str | os.PathLike) -> Profile:
        """The profile in the file, with its maps on the CPU. ProfileError, with the path in its sentence."""
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                return cls._assembled(file, _read_header(file))
        except ProfileError as error:
            raise ProfileError(f"{path}: {error}") from error
        except OSError as error:
            raise ProfileError(f"{path} could not be read ({error}). Check its name and your rights to it.") from error
        except SafetensorError as error:
            raise ProfileError(f"{path} is cut short, or no safetensors file at all ({error}). {AGAIN}") from error

    @classmethod
    def _assembled(cls, file: Any, header: dict[str, Any]) -> Profile:
        """The profile of a file whose schema is right: what is wrong now is damage, whose cure is the same always."""
        try:
            _check_entries("entries", ENTRIES, set(header))
            learned = {
                "linear": _read_maps(file, header["linear"]),
                "schedule": _read_part("schedule", Schedule, header["schedule"], whole=False),
                "curves": _read_part("curves", Curves, header["curves"]),
                **{name: _read_tensor(file, name) for name in TABLES if name in file.keys()},  # noqa: SIM118
            }
            return cls(**{name: header[name] for name in AS_IT_IS}, **learned)
        except ProfileError as error:
            raise ProfileError(f"{error} {AGAIN}") from error

    def _header(self) -> dict[str, Any]:
        return {
            "schema": f"{SCHEMA}/{VERSION}",
            **{name: getattr(self, name) for name in AS_IT_IS},
            "linear": {_range_name(key): linear.kind for key, linear in self.linear.items()},
            "schedule": self.schedule and asdict(self.schedule),
            "curves": self.curves and asdict(self.curves),
        }

    def _tensors(self) -> dict[str, Tensor]:
        """Copies, since a file may hold neither tensors that share memory nor strided ones."""
        tensors = {
            _tensor_name(_range_name(key), name): tensor
            for key, linear in self.linear.items()
            for name, tensor in linear.tensors().items()
        }
        tensors |= {name: getattr(self, name) for name in TABLES if getattr(self, name) is not None}
        return {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }


# Names.


def _range_name(key: RangeKey) -> str:
    first, last, stream = key
    return f"{first}-{last}.{stream}"


def _range_key(name: str) -> RangeKey:
    found = RANGE.fullmatch(name)
    if not found:
        raise ProfileError(f"The range {short(name)} is not like '0-15.img', first and last block and stream.")
    return int(found[1]), int(found[2]), found[3]


def _tensor_name(range_name: str, name: str) -> str:
    return f"linear.{range_name}.{name}"


# Checking what a profile is made of.


def _is_text(value: Any) -> bool:
    """Lines of printable characters: no control characters, no halves of surrogate pairs, which cannot be written."""
    return isinstance(value, str) and all(line.isprintable() for line in value.splitlines())


def _is_name(value: Any) -> bool:
    """One line of text, not blank."""
    return isinstance(value, str) and value.isprintable() and bool(value.strip())


def _is_number(value: Any) -> bool:
    """Finite, and no integer beyond what a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _check_names(what: str, names: Any) -> None:
    if not isinstance(names, list) or not names or not all(_is_name(name) for name in names):
        raise ProfileError(f"The {what} are {short(names)}, but they must be a list of names.")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ProfileError(f"{name!r} is listed {times} times in the {what}, but names must differ.")


def _check_made_for(made_for: Any) -> None:
    if not isinstance(made_for, dict) or not all(_is_name(name) for name in made_for):
        raise ProfileError(f"made_for is {short(made_for)}, but it must map names to text or numbers.")
    for name, value in made_for.items():
        if not _is_text(value) and not _is_number(value):
            raise ProfileError(f"made_for has {name} = {short(value)}, but it must be text or a finite number.")


def _check_range(key: RangeKey, blocks: int) -> None:
    if not isinstance(key, tuple) or len(key) != 3 or _range_key(_range_name(key)) != key:
        raise ProfileError(f"The range {short(key)} is not like (0, 15, 'img'), first and last block and stream.")
    first, last, _ = key
    if not first <= last < blocks:
        raise ProfileError(
            f"The range '{_range_name(key)}' does not lie within blocks 0 to {blocks - 1}, or is reversed."
        )


def _check_map(name: str, linear: LinearMap, width: int) -> None:
    if not isinstance(linear, LinearMap):
        raise ProfileError(f"The map of '{name}' is {type(linear).__name__}, but it must be a linear map.")
    if linear.width != width:
        raise ProfileError(f"The map of '{name}' is {linear.width} wide, but the profile's width is {width}.")
    for part, tensor in linear.tensors().items():
        if not tensor.isfinite().all():
            raise ProfileError(f"{_tensor_name(name, part)} has a NaN or an infinity in it.")


def _check_schedule(schedule: Schedule, blocks: int) -> None:
    sigmas, computed = schedule.sigmas, schedule.computed
    if not isinstance(sigmas, list) or not all(_is_number(sigma) and sigma >= 0 for sigma in sigmas):
        found = short(sigmas)
        raise ProfileError(f"The schedule's sigmas are {found}, but they must be a list of numbers from 0.")
    if not isinstance(computed, list) or not computed or len(computed) != len(sigmas):
        found = len(computed) if isinstance(computed, list) else short(computed)
        raise ProfileError(f"The schedule has {found} evaluations for {len(sigmas)} sigmas, but it needs one for each.")
    for i, row in enumerate(computed):
        if not isinstance(row, list) or len(row) != blocks or not all(type(x) is int and x in (0, 1) for x in row):
            raise ProfileError(
                f"Evaluation {i} of the schedule is {short(row)}, but it must be a list of {blocks} "
                "zeros and ones, one for each block."
            )
    if schedule.factors is not None and not (_is_table(schedule.factors, len(sigmas), 2)):
        found = short(schedule.factors)
        raise ProfileError(f"The schedule's factors are {found}, but they must be two numbers for each evaluation.")
    if not isinstance(schedule.whole, bool):
        raise ProfileError(f"The schedule's whole is {short(schedule.whole)}, but it must be true or false.")
    if schedule.whole and schedule.tells_blocks_apart:
        raise ProfileError("The schedule is for the whole model, but it computes some blocks where it predicts others.")
    largest = max((abs(factor) for row in schedule.factors or () for factor in row), default=0.0)
    if largest > LARGEST_FACTOR:
        raise ProfileError(f"A factor of the schedule is {largest:g}, beyond {LARGEST_FACTOR}, which none needs.")


def _is_table(value: Any, rows: int, columns: int) -> bool:
    """A list of so many lists of so many numbers."""
    return (
        isinstance(value, list)
        and len(value) == rows
        and all(isinstance(row, list) and len(row) == columns and all(map(_is_number, row)) for row in value)
    )


def _check_curves(curves: Curves) -> None:
    if not isinstance(curves.sigmas, list) or not curves.sigmas or not all(map(_is_number, curves.sigmas)):
        raise ProfileError(f"The curves' sigmas are {short(curves.sigmas)}, but they must be a list of numbers.")
    for what, found in (("values", curves.values), ("coefficients", curves.coefficients)):
        _check_numbers(f"curves' {what}", found)
    for name, values in curves.values.items():
        if not isinstance(values, list) or len(values) != len(curves.sigmas):
            raise ProfileError(f"The curve {name!r} is {short(values)}, but it must have a number for each sigma.")
    for name, numbers in curves.coefficients.items():
        if not isinstance(numbers, list) or not numbers:
            raise ProfileError(f"The coefficients {name!r} are {short(numbers)}, but they must be a list of numbers.")


def _check_numbers(what: str, found: Any) -> None:
    if not isinstance(found, dict) or not all(map(_is_name, found)):
        raise ProfileError(f"The {what} are {short(found)}, but they must map names to numbers.")
    for name, value in found.items():
        if not all(map(_is_number, value if isinstance(value, list) else [value])):
            raise ProfileError(f"The {what} have {name} = {short(value)}, but it must be a number, or a list of them.")


def _check_changes(changes: Tensor, blocks: int) -> None:
    if not isinstance(changes, Tensor) or changes.ndim != 3 or len(changes) != blocks or not changes.numel():
        found = list(changes.shape) if isinstance(changes, Tensor) else type(changes).__name__
        raise ProfileError(f"The change table has the shape {found}, but it must be [{blocks}, evaluations, gaps].")
    if not changes.isfinite().all() or changes.amin() < 0:
        raise ProfileError("The change table has numbers in it that are negative, NaN or infinite.")


# Writing and reading a file.


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    if not tensors:
        # By hand, since safetensors before 0.4.5 writes metadata without tensors as JSON that nobody can read.
        header = json.dumps({"__metadata__": metadata}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        return
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, metadata)
    path.chmod(mode)  # some versions of safetensors let nobody but the owner read what they wrote


def _read_header(file: Any) -> dict[str, Any]:
    """The JSON object, of the right schema; nothing else in it is checked yet."""
    text = (file.metadata() or {}).get(KEY)
    if text is None:
        raise ProfileError(f"The file has no metadata '{KEY}', so it is no FastCache profile. Choose another file.")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"The metadata '{KEY}' are not JSON ({error}). {AGAIN}") from error
    _check_schema(header.get("schema") if isinstance(header, dict) else header)
    return header


def _check_schema(schema: Any) -> None:
    if schema == f"{SCHEMA}/{VERSION}":
        return
    found = re.fullmatch(rf"{re.escape(SCHEMA)}/([1-9][0-9]{{0,5}})", schema) if isinstance(schema, str) else None
    if found:
        raise ProfileError(
            f"The schema is {schema}, written by a newer FastCache; this one reads {SCHEMA}/{VERSION}. "
            "Update ComfyUI-FastCache."
        )
    raise ProfileError(f"The schema is {short(schema)}, but it must be '{SCHEMA}/{VERSION}'. Choose another file.")


def _check_entries(what: str, expected: set[str], found: set[str]) -> None:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    if missing:
        raise ProfileError(f"The {what} {short(missing)} are missing.")
    if unknown:
        raise ProfileError(f"The {what} {short(unknown)} do not belong to a profile.")


def _read_part(what: str, kind: type, found: Any, **later: Any) -> Any:
    """A dataclass from its entries, or None where there is none; the dataclass does not check them.

    later: entries that older files do not have, and what stands for them.
    """
    if found is None:
        return None
    names = [part.name for part in fields(kind)]
    if not isinstance(found, dict) or set(later | found) != set(names):
        raise ProfileError(f"The {what} is {short(found)}, but it must have {', '.join(names)}.")
    found = later | found
    return kind(**found)


def _read_maps(file: Any, kinds: Any) -> dict[RangeKey, LinearMap]:
    """The maps that the header lists, a kind for each range; the file must have their tensors and no other."""
    if not isinstance(kinds, dict):
        raise ProfileError(f"linear is {short(kinds)}, but it must map ranges to kinds of maps.")
    for name, kind in kinds.items():
        if not isinstance(kind, str) or kind not in KINDS:
            raise ProfileError(f"The map of {name!r} is {short(kind)}, but it must be one of: {', '.join(KINDS)}.")
    expected = {_tensor_name(name, part) for name, kind in kinds.items() for part in KINDS[kind].layout}
    _check_entries("tensors", expected, set(file.keys()) - set(TABLES))
    return {_range_key(name): _read_map(file, name, KINDS[kind]) for name, kind in kinds.items()}


def _read_map(file: Any, name: str, kind: type[LinearMap]) -> LinearMap:
    tensors = {part: _read_tensor(file, _tensor_name(name, part)) for part in kind.layout}
    try:
        return kind.from_tensors(tensors)
    except ValueError as error:
        raise ProfileError(f"The map of '{name}' is invalid: {error}") from error


def _read_tensor(file: Any, name: str) -> Tensor:
    """A copy: what safetensors returns may be the mapped file itself, which could then not be replaced on Windows."""
    dtype = file.get_slice(name).get_dtype()
    if dtype not in DTYPES:
        raise ProfileError(f"{name} is {dtype}, but it must be one of: {', '.join(DTYPES)}.")
    return file.get_tensor(name).clone()

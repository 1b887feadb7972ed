"""What `torch.save` wrote, read as data: the file's instructions are followed here, none of its code is called.

A pickle is a program for a stack machine, which may name any function and call it. This one knows the instructions by
which data are put together, and of functions only those that make tensors and dictionaries; it builds these itself, and
refuses everything else. Objects of classes (a saved `argparse.Namespace`) become the dictionaries of their attributes.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

LARGEST = 256 * 2**20  # bytes of a file, and of what is in it
DTYPES = {"FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16,
          "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8,
          "ByteStorage": np.uint8, "BoolStorage": np.bool_}  # fmt: skip
# What becomes of a program that makes no sense, or an archive that cannot be unpacked (encrypted: RuntimeError).
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, StopIteration, EOFError, RuntimeError,
          zipfile.BadZipFile, zlib.error)  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C  # how files of torch before 1.6 begin


class PickleError(ValueError):
    """A file holds something else than data, or is damaged; says in a sentence what."""


class _Name(NamedTuple):
    """A function or class that the file names, which is not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class _Storage(NamedTuple):
    """Numbers kept apart from the program."""

    key: str
    dtype: type


def read_saved(content: bytes) -> Any:
    """What torch.save was given, tensors as arrays; PickleError where it is anything but data."""
    if len(content) > LARGEST:
        raise PickleError(f"The file has {len(content)} bytes, more than the {LARGEST} that are read.")
    try:
        return _read_zip(content) if zipfile.is_zipfile(io.BytesIO(content)) else _read_old(content)
    except PickleError:
        raise
    except DAMAGE as error:
        raise PickleError(f"The file is damaged, or no file of torch.save ({error!r}).") from error


def _read_zip(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
            raise PickleError(f"The file unpacks to more than the {LARGEST} bytes that are read.")
        (program,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = program.removesuffix("data.pkl") + "data/"
        storages = {name.removeprefix(folder): archive.read(name)
                    for name in archive.namelist() if name.startswith(folder)}  # fmt: skip
        return _Machine(storages).run(io.BytesIO(archive.read(program)))


def _read_old(content: bytes) -> Any:
    """Magic number, version, machine, the object, names of storages, and these: each its length and its numbers.

    The object is read twice, the second time with the numbers that come after it.
    """
    stream = io.BytesIO(content)
    if _Machine().run(stream) != MAGIC:
        raise PickleError("The file is no file of torch.save.")
    _Machine().run(stream)
    _Machine().run(stream)
    start, first = stream.tell(), _Machine()
    first.run(stream)
    storages = {}
    for key in _Machine().run(stream):
        count = int.from_bytes(stream.read(8), "little")
        storages[key] = stream.read(count * np.dtype(first.named[key].dtype).itemsize)
    stream.seek(start)
    return _Machine(storages).run(stream)


def _array(raw: bytes | None, dtype: type, offset: int, shape: tuple, strides: tuple) -> np.ndarray:
    """The tensor's numbers, each once at most."""
    size = np.dtype(dtype).itemsize
    reach = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
    if raw is None or min(*shape, *strides, offset, 0) < 0 or size * max(reach, math.prod(shape)) > len(raw):
        raise PickleError("The file is cut short, or a tensor in it lies outside of its numbers.")
    flat = np.frombuffer(raw, dtype)[offset:]
    return np.lib.stride_tricks.as_strided(flat, shape, [step * size for step in strides]).copy()


MAKES: dict[_Name, Callable[..., Any]] = {
    _Name("collections", "OrderedDict"): lambda pairs=(): dict(pairs),
    _Name("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    _Name("argparse", "Namespace"): dict,
}
TENSOR = _Name("torch._utils", "_rebuild_tensor_v2")
_MARK = object()


class _Machine:
    """One program, from its first instruction to STOP. storages: numbers by key, None where they are not known yet and
    tensors are passed over. named: the storages that the program asked for."""

    def __init__(self, storages: dict[str, bytes] | None = None) -> None:
        self.storages = storages
        self.named: dict[str, _Storage] = {}
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.made = 0  # bytes of tensors, of which many may be of the same numbers

    def run(self, stream: io.BytesIO) -> Any:
        for code, argument, _ in pickletools.genops(stream):
            step = self.STEPS.get(code.name)
            if step is None:
                raise PickleError(f"The file holds the instruction {code.name}, which data do not need.")
            step(self, argument)
        return self.stack.pop()

    def _marked(self) -> list[Any]:
        at = len(self.stack) - 1 - next(i for i, value in enumerate(reversed(self.stack)) if value is _MARK)
        values, self.stack[at:] = self.stack[at + 1 :], []
        return values

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _ignore(self, _: Any) -> None:
        """Says how the program is written, and nothing about its data."""

    def _tuple(self, count: int) -> None:
        values, self.stack[-count:] = tuple(self.stack[-count:]), []
        self._push(values)

    def _global(self, text: str) -> None:
        module, name = text.split(" ", 1)
        self._name(module, name)

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._name(module, name)

    def _name(self, module: Any, name: Any) -> None:
        found = _Name(module, name)
        if found not in (*MAKES, TENSOR) and not (module == "torch" and name in DTYPES):
            raise PickleError(f"The file wants to call {found}, which data do not need; it is not read.")
        self._push(found)

    def _call(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self._push(self._tensor(*arguments) if function == TENSOR else MAKES[function](*arguments))

    def _tensor(self, storage: _Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> np.ndarray | None:
        if self.storages is None:
            return None
        array = _array(self.storages.get(storage.key), storage.dtype, offset, shape, strides)
        self.made += array.nbytes
        if self.made > LARGEST:
            raise PickleError(f"The file's tensors take more than the {LARGEST} bytes that are read.")
        return array

    def _build(self, _: Any) -> None:
        """Attributes of an object; those of an ordered dictionary say nothing about what is in it."""
        attributes, made = self.stack.pop(), self.stack[-1]
        if not isinstance(made, dict) or not isinstance(attributes, dict):
            raise PickleError("The file sets attributes of something that has none.")
        if not any(key.startswith("_") for key in attributes):
            made.update(attributes)

    def _persistent(self, _: Any) -> None:
        kind, storage, key, *_ = self.stack.pop()
        if kind != "storage" or storage.name not in DTYPES:
            raise PickleError(f"The file holds a {kind} that is no storage of numbers.")
        found = self.named[key] = _Storage(key, DTYPES[storage.name])
        self._push(found)

    def _set_items(self, _: Any) -> None:
        values = self._marked()
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def _set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][key] = value

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        self.stack[-1].append(value)

    STEPS: dict[str, Callable[[_Machine, Any], None]] = {
        **dict.fromkeys(("PROTO", "FRAME", "STOP"), _ignore),
        **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
                         "INT", "LONG", "FLOAT", "UNICODE"), _push),
        "NONE": lambda self, _: self._push(None),
        "NEWTRUE": lambda self, _: self._push(True),
        "NEWFALSE": lambda self, _: self._push(False),
        "MARK": lambda self, _: self._push(_MARK),
        "EMPTY_DICT": lambda self, _: self._push({}),
        "EMPTY_LIST": lambda self, _: self._push([]),
        "EMPTY_TUPLE": lambda self, _: self._push(()),
        "DICT": lambda self, _: self._push(dict(zip(*[iter(self._marked())] * 2, strict=True))),
        "LIST": lambda self, _: self._push(self._marked()),
        "TUPLE": lambda self, _: self._push(tuple(self._marked())),
        "TUPLE1": lambda self, _: self._tuple(1),
        "TUPLE2": lambda self, _: self._tuple(2),
        "TUPLE3": lambda self, _: self._tuple(3),
        "SETITEMS": _set_items,
        "SETITEM": _set_item,
        "APPEND": _append,
        "APPENDS": lambda self, _: (lambda values: self.stack[-1].extend(values))(self._marked()),
        **dict.fromkeys(("BINPUT", "LONG_BINPUT", "PUT"), lambda self, at: self.memo.__setitem__(at, self.stack[-1])),
        "MEMOIZE": lambda self, _: self.memo.__setitem__(len(self.memo), self.stack[-1]),
        **dict.fromkeys(("BINGET", "LONG_BINGET", "GET"), lambda self, at: self._push(self.memo[at])),
        "GLOBAL": _global,
        "STACK_GLOBAL": _stack_global,
        "REDUCE": _call,
        "NEWOBJ": _call,
        "BUILD": _build,
        "BINPERSID": _persistent,
    }  # fmt: skip

"""A machine for the few pickle instructions that a file of weights needs. Nothing is imported or called.

Python's own reader of pickles looks names up and calls what it finds, which is how such a file runs programs;
``torch.load(weights_only=True)`` narrows the names down and has still been broken (CVE-2026-24747). Here the
instructions are read one by one and carried out on a stack of plain values. A name is only a string: those
of :class:`Machine`'s ``constructors`` are carried out by functions of ours, those in ``inert`` become empty
objects without content, and every other name is refused.
"""

from __future__ import annotations

import pickletools
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from cxreport.errors import UserError

MOST_INSTRUCTIONS = 5_000_000
MOST_BYTES = 256 * 2**20
"""Limits of one pickle: the largest published checkpoints have some 100,000 instructions and 10 MB."""

MOST_FILE_BYTES = 16 * 2**30
"""A larger file is refused; the largest published encoder has 3 GB."""

DAMAGE = (ValueError, EOFError, OverflowError, struct.error)
"""What nonsense raises while a pickle is read."""


class RefusedError(Exception):
    """The file needs something that weights do not: a sentence without its subject, the file."""


class Inert:
    """An object of a known class without its content."""


class Unbuilt(ABC):
    """An object of ours whose content comes after it, with the instruction BUILD."""

    @abstractmethod
    def build(self, state: Any) -> None:
        """Take the content; ValueError or RefusedError where it is none."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name that was looked up."""

    name: str


class _Bounded:
    """A file of which no more than `most` bytes are read: an instruction may claim any length."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self.file = file
        self.tell = file.tell
        self.most = most
        self.end = file.tell() + most

    def read(self, size: int) -> bytes:
        self._left(at_least=size)
        return self.file.read(size)

    def readline(self) -> bytes:
        return self.file.readline(self._left(at_least=1))

    def _left(self, at_least: int) -> int:
        left = self.end - self.file.tell()
        if left < at_least:
            raise RefusedError(f"has a pickle of more than {self.most // 2**20} MB")
        return left


_MARK = object()
_PUSHES = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}


class Machine:
    """Carries out one pickle.

    ``constructors`` maps a name to the function of ours that stands for it, ``inert`` holds names whose
    objects are known and of no use, and ``storage`` answers a persistent id.
    """

    def __init__(
        self,
        constructors: Mapping[str, Callable[..., Any]],
        inert: frozenset[str],
        storage: Callable[[Any], Any],
        most_bytes: int | None = None,
        most_instructions: int | None = None,
    ) -> None:
        self.constructors, self.inert, self.storage = constructors, inert, storage
        self.most_bytes = most_bytes or MOST_BYTES
        self.most_instructions = most_instructions or MOST_INSTRUCTIONS
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        """The value of the pickle that begins here in `file`, which is left behind its end.

        Raises RefusedError for a name, an instruction or a size that weights do not need, and ValueError for
        a pickle that is cut off or makes no sense.
        """
        bounded = cast("IO[bytes]", _Bounded(file, self.most_bytes))
        for count, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
            if count > self.most_instructions:
                raise RefusedError(f"has a pickle of more than {self.most_instructions} instructions")
            try:
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, argument)
            except (IndexError, KeyError, TypeError) as error:
                raise ValueError(f"instruction {opcode.name} makes no sense: {error}") from None
        raise ValueError("the pickle has no end")

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in _PUSHES:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _STEPS:
            _STEPS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME"):
            raise RefusedError(f"uses the pickle instruction {opcode}, which weights do not need")

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark stands where a value must")
        return value

    def _pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _look_up(self, name: str) -> None:
        if name not in self.constructors and name not in self.inert:
            raise RefusedError(f"asks for {name}, which weights do not need")
        self.stack.append(Name(name))

    def _construct(self) -> None:
        arguments, name = self._pop(), self._pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise ValueError("something is called that is no name")
        make = self.constructors.get(name.name)
        self.stack.append(make(*arguments) if make else Inert())

    def _store(self, target: Any, items: list[Any]) -> None:
        """Put items into the container; an object without content swallows them."""
        if isinstance(target, Inert):
            return
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                if not isinstance(key, str | int):
                    raise RefusedError(f"has a key of type {type(key).__name__}")
                target[key] = value
        elif isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            target.update(plain_set(items))
        else:
            raise ValueError(f"items are put into a {type(target).__name__}")

    def _store_marked(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._store(self.stack[-1], items)

    def _store_last(self, count: int) -> None:
        items = [self._pop() for _ in range(count)][::-1]
        self._store(self.stack[-1], items)

    def _new(self, empty: Any) -> None:
        items = self._pop_to_mark()
        self._store(empty, items)
        self.stack.append(empty)

    def _take(self, count: int) -> None:
        self.stack.append(tuple([self._pop() for _ in range(count)][::-1]))

    def _build(self, _: Any) -> None:
        """Content of an object of ours; mappings of weights have none that matters (``_metadata``)."""
        state = self._pop()
        if isinstance(self.stack[-1], Unbuilt):
            self.stack[-1].build(state)
        elif not isinstance(self.stack[-1], Inert | dict):
            raise ValueError(f"a {type(self.stack[-1]).__name__} is given attributes")

    def _look_up_two(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._look_up(f"{module}.{name}")

    def _memoize(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]


_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "POP": lambda machine, _: machine.stack.__delitem__(-1),
    "POP_MARK": lambda machine, _: machine._pop_to_mark().clear(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "APPEND": lambda machine, _: machine._store_last(1),
    "APPENDS": Machine._store_marked,
    "SETITEM": lambda machine, _: machine._store_last(2),
    "SETITEMS": Machine._store_marked,
    "ADDITEMS": Machine._store_marked,
    "LIST": lambda machine, _: machine._new([]),
    "DICT": lambda machine, _: machine._new({}),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine._pop_to_mark())),
    "TUPLE1": lambda machine, _: machine._take(1),
    "TUPLE2": lambda machine, _: machine._take(2),
    "TUPLE3": lambda machine, _: machine._take(3),
    "PUT": Machine._memoize,
    "BINPUT": Machine._memoize,
    "LONG_BINPUT": Machine._memoize,
    "MEMOIZE": Machine._memoize,
    "GET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "GLOBAL": lambda machine, argument: machine._look_up(argument.replace(" ", ".", 1)),
    "STACK_GLOBAL": Machine._look_up_two,
    "REDUCE": lambda machine, _: machine._construct(),
    "NEWOBJ": lambda machine, _: machine._construct(),
    "BUILD": Machine._build,
    "BINPERSID": lambda machine, _: machine.stack.append(machine.storage(machine._pop())),
}


def plain_set(items: list[Any]) -> set[Any]:
    """A set of numbers and text; RefusedError for anything else, whose hash may be deep."""
    if not all(isinstance(item, str | int | float) for item in items):
        raise RefusedError("has a set of other things than numbers and text")
    return set(items)


@contextmanager
def sentences(path: Path, damage: tuple[type[Exception], ...] = DAMAGE) -> Iterator[None]:
    """Refusals, `damage` and what the system says become UserError about `path`, whose size has a limit."""
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise RefusedError(f"has more than {MOST_FILE_BYTES // 2**30} GB")
        yield
    except RefusedError as refused:
        raise UserError(f"{path} {refused}; it is refused, and nothing of it was run.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    except damage as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(f"{path} is damaged or cut off: {reason}.") from None

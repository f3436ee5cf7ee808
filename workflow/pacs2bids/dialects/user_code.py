"""A user's Python file: loaded, called, and its failures told with line, series and values.

For a process of its own (``isolated``): loading changes ``sys.modules``.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NoReturn

from pacs2bids.builtin import FOLDER
from pacs2bids.dialects.blanking import Blank, BlankedStream
from pacs2bids.dialects.isolated import End, limited
from pacs2bids.dialects.standins import SeqInfo, install, package_of
from pacs2bids.model import EndlessError, HeuristicError

SHOWN = 4  # values in the text of a failure
LONG = 120  # characters of a value there
NOT_SHOWN = ("patient_id", "accession_number", "referring_physician_name", "patient_age", "custom")

Compile = Callable[[bytes, str], CodeType]


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that the user's code raised. ``shown``: SeqInfos its frames were looking at.

    ``is_mistake``: of whoever wrote the code, whatever the series: a name or a field that there is not.
    """

    text: str
    place: tuple[str, int]
    shown: tuple[SeqInfo, ...] = ()
    is_mistake: bool = False


class FailedError(Exception):
    """The user's code raised something."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def compiled(source: bytes, path: str) -> CodeType:
    """As Python does it."""
    return compile(source, path, "exec", dont_inherit=True)


class UserCode:
    """A user's file. ``fresh`` loads it anew, with all that it imports from its folder.

    What it says, printed or in exceptions, goes through ``blank``. ``end`` gets the error when a call takes
    longer than ``limit_s``.
    """

    def __init__(
        self, path: Path, blank: Blank, *, end: End, limit_s: float, compiled: Compile = compiled
    ) -> None:
        self.path, self.blank = path.resolve(), blank
        self.where = str(path)
        self._end, self._limit_s, self._compiled = end, limit_s, compiled
        if not self.path.is_file():
            raise HeuristicError("no such heuristic file", where=self.where)
        install()
        self._module = self._load()

    def has(self, name: str) -> bool:
        """Whether it defines this."""
        return hasattr(self._module, name)

    def value(self, name: str) -> Any:
        """What it says under this name; None if nothing."""
        return getattr(self._module, name, None)

    def fresh(self) -> None:
        """Load it anew: nothing sees what a failed call left behind."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name.partition(".")[0] == "heudiconv" or (file and self.is_users(file)):
                del sys.modules[name]
        self._module = self._load()

    def call(self, name: str, *arguments: object, **options: object) -> Any:
        """Call a function of it. Raises FailedError if that raises anything."""
        function = getattr(self._module, name)
        try:
            with self._running():
                return function(*arguments, **options)
        except (Exception, SystemExit) as error:  # user code may raise anything
            raise FailedError(self._failure(error)) from error

    def refuse_mistake(self, failure: Failure) -> None:
        """Raise HeuristicError for a failure that is no fault of a series."""
        if failure.is_mistake:
            what = f"has a mistake that is no series' fault: {failure.text}"
            raise HeuristicError(what, where=self.where, hint="Correct it there")

    def is_users(self, file: str) -> bool:
        """Whether a file is the heuristic's, or lies beside it, or is a built-in."""
        return _is_below(file, self.path.parent) or _is_below(file, FOLDER)

    def _load(self) -> ModuleType:
        stem = self.path.stem
        module = ModuleType(stem)
        module.__file__ = module.filename = str(self.path)  # type: ignore[attr-defined]
        module.__package__ = package_of(self.path)
        sys.modules[stem] = module
        try:
            with self._running():
                exec(self._compiled(self.path.read_bytes(), str(self.path)), vars(module))
        except (Exception, SystemExit) as error:  # user code may raise anything
            hint = "Install it beside pacs2bids, or drop the import" if isinstance(error, ImportError) else ""
            what = f"cannot be loaded: {self._failure(error).text}"
            raise HeuristicError(what, where=self.where, hint=hint) from error
        if not callable(getattr(module, "infotodict", None)):
            hint = "heudiconv's dialect wants 'def infotodict(seqinfo):'"
            raise HeuristicError("has no function infotodict", where=self.where, hint=hint)
        return module

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        with self._importing(), self._talking(), limited(self._limit_s, self._over):
            yield

    @contextlib.contextmanager
    def _importing(self) -> Iterator[None]:
        """Siblings import each other; no compiled copies, which could outlive an edit within one second."""
        path, flag = sys.path[:], sys.dont_write_bytecode
        sys.path.insert(0, str(self.path.parent))
        sys.dont_write_bytecode = True
        try:
            yield
        finally:
            sys.path[:], sys.dont_write_bytecode = path, flag

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """Users print to debug; standard output is for the one line of result."""
        stream = BlankedStream(sys.stderr, self.blank)
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            try:
                yield
            finally:
                stream.flush()

    # ---------------------------------------------------------------------------------------- what fails

    def _over(self, frame: FrameType | None) -> NoReturn:
        users = [(one, line) for one, line in traceback.walk_stack(frame) if self._is_users(one)]
        frames = users[:1]
        place = spoken((frames[0][0].f_code.co_filename, frames[0][1])) if frames else "in what it calls"
        values = self._values(*frames[0]) if frames else ""
        what = f"does not come to an end: after {self._limit_s:g} s it is still running ({place}{values})"
        self._end(EndlessError(what, where=self.where, hint="Is there a loop without an end?"))

    def _failure(self, error: BaseException) -> Failure:
        if isinstance(error, SyntaxError):
            place = (error.filename or str(self.path), error.lineno or 0)
            return Failure(f"{type(error).__name__}: {self.blank(error.msg)} ({spoken(place)})", place)
        frames = [one for one in traceback.walk_tb(error.__traceback__) if self._is_users(one[0])]
        frame, line = frames[-1] if frames else (None, 0)
        place = (frame.f_code.co_filename if frame else str(self.path), line)
        kind, colon, said = "".join(traceback.format_exception_only(error)).strip().partition(":")
        seen = [info for inner, _ in reversed(frames) for info in seqinfos_of(inner)]
        values = next((told for one in reversed(frames) if (told := self._values(*one))), "")
        text = f"{kind}{colon}{self.blank(said)} ({spoken(place)}{values})"
        return Failure(text, place, tuple(seen), is_mistake=_is_mistake(error))

    def _is_users(self, frame: FrameType) -> bool:
        return self.is_users(frame.f_code.co_filename)

    def _values(self, frame: FrameType, line: int) -> str:
        """What the fields of a series that a line speaks of hold: "; s.image_type is ('DERIVED',)"."""
        fields = {
            (node, name): getattr(value, name)
            for node, name in _fields_at(frame.f_code.co_filename, line)
            if isinstance(value := frame.f_locals.get(node), SeqInfo) and name not in NOT_SHOWN
        }
        told = [f"{node}.{name} is {short(value)}" for (node, name), value in fields.items()]
        return "".join(f"; {self.blank(one)}" for one in told[:SHOWN])


def _is_mistake(error: BaseException) -> bool:
    """Whether an exception tells of the code; an odd series makes an IndexError, a KeyError and so on.

    An AttributeError counts if it is of what the code may know: a SeqInfo, a module. What a header lacks
    may be None, and has no ``lower`` then.
    """
    if isinstance(error, AttributeError):
        return isinstance(error.obj, SeqInfo | ModuleType)
    return isinstance(error, NameError | ImportError)


def spoken(place: tuple[str, int]) -> str:
    """ "mine.py, line 4"."""
    return f"{Path(place[0]).name}, line {place[1]}"


def seqinfos_of(frame: FrameType) -> list[SeqInfo]:
    """Series that variables of a frame hold."""
    return [value for value in frame.f_locals.values() if isinstance(value, SeqInfo)]


@functools.cache
def _is_below(file: str, folder: Path) -> bool:
    return Path(file).is_relative_to(folder)


def short(value: object) -> str:
    """As it is written, cut if it is long."""
    text = repr(value)
    return text if len(text) <= LONG else f"{text[:LONG]}..."


def _fields_at(file: str, line: int) -> Sequence[tuple[str, str]]:
    """Variables and fields of SeqInfo that a line speaks of: of ``s.TR > 2`` and ``s[10] > 2`` (s, TR)."""
    found = []
    for node in _nodes_by_line(file).get(line, ()):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.append((node.value.id, node.attr))
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            number = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if isinstance(number, int) and -len(SeqInfo._fields) <= number < len(SeqInfo._fields):
                found.append((node.value.id, SeqInfo._fields[number]))
    return [one for one in dict.fromkeys(found) if one[1] in SeqInfo._fields]


@functools.cache
def _nodes_by_line(file: str) -> Mapping[int, Sequence[ast.AST]]:
    nodes: dict[int, list[ast.AST]] = {}
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        for node in ast.walk(ast.parse(Path(file).read_bytes())):
            if isinstance(node, ast.Attribute | ast.Subscript):
                nodes.setdefault(node.lineno, []).append(node)
    return nodes

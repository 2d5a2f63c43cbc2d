"""Exceptions thrown at each await of a loop: code that is loaded is recompiled so that each await passes a point.

Thrown is before what is awaited begins, so that no library is left half way, and only where the project awaits
others' code: its own cannot fail before it awaits something itself. Entering an `async with` and each step of an
`async for` are points, too. A place is a point with all of the project's calls that led to it: what two callers await
is two places.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import sys
from collections.abc import Coroutine
from contextvars import ContextVar
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterator

Place = tuple[str, ...]
"""The project's calls, outermost first, as ``bus.py:94 run``."""

POINT = "__injection_point__"

_loop: ContextVar[str] = ContextVar("loop", default="")


class Injector:
    """Throws once at each place of one loop.

    Args:
        package: whose awaits are points.
        late: names of functions in which what is awaited is done before the exception comes: they give back what must
            not be kept, and the library sees to it whatever happens.
        share: throw at the first of so many places only.

    Attributes:
        thrown: where, since it was armed.
    """

    def __init__(self, package: str, *, late: Collection[str] = (), share: int = 1) -> None:
        self._package = package
        self._share = share
        self._late = late
        self._armed: tuple[str, Callable[[], BaseException]] | None = None
        self._again = False
        self._done: set[Place] = set()
        self.thrown: list[Place] = []

    def arm(self, loop: str, fault: Callable[[], BaseException], *, again: bool = False) -> None:
        """Throw at the next place of a loop that had none yet; `thrown` says where it was.

        Args:
            loop: its name.
            fault: what to throw.
            again: throw at the next place, whichever it is, and then at a new one: some come after a failure only.
        """
        self.thrown = []
        self._armed, self._again = (loop, fault), again

    def disarm(self) -> None:
        """Throw no more, and begin with all places anew."""
        self._armed = None
        self._done.clear()

    def named(self, supervised: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
        """Wrap what runs a loop, whose name is its first argument: what the loop starts belongs to it."""

        async def run(name: str, work: Callable[[], Awaitable[None]]) -> None:
            with within(name):
                await supervised(name, work)

        return run

    @contextlib.contextmanager
    def points(self) -> Iterator[None]:
        """Have each await of the package pass a point."""
        modules = {
            str(module.__file__): module
            for name, module in list(sys.modules.items())
            if (name == self._package or name.startswith(f"{self._package}.")) and module.__file__
        }
        before: list[tuple[FunctionType, CodeType]] = []
        made = {path: _recompiled(path) for path in modules}
        for module in modules.values():
            setattr(module, POINT, self._point)
        for found in gc.get_objects():
            # No isinstance(): weak proxies among them would look at what is gone.
            if type(found) is FunctionType and (codes := made.get(found.__code__.co_filename)):
                code = codes[_identity(found.__code__)]
                if code.co_freevars == found.__code__.co_freevars:
                    before.append((found, found.__code__))
                    found.__code__ = code
        try:
            yield
        finally:
            for function, code in before:
                function.__code__ = code
            for module in modules.values():
                _remove_point(module)

    def _point(self, awaited: Any, *, each: bool = False) -> Any:
        if _cannot_fail(awaited):
            return awaited
        if each:
            return _Each(awaited, self._point)
        if self._armed is None or self._armed[0] != _loop.get():
            return awaited
        place = self._place()
        if place in self._done and not self._again:
            return awaited
        _, fault = self._armed
        if place not in self._done:
            self._done.add(place)
            if (len(self._done) - 1) % self._share:
                return awaited
            self._armed = None
        self._again = False
        self.thrown.append(place)
        if place[-1].split()[-1] in self._late:
            return _done_and_then(awaited, fault())
        # Also the step of an asynchronous generator, which is one in all but its type.
        if isinstance(awaited, Coroutine):
            awaited.close()
        elif isinstance(awaited, asyncio.Future):
            awaited.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            awaited.cancel()
        raise fault()

    def _place(self) -> Place:
        calls: list[str] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if POINT in frame.f_globals:
                path, name = Path(frame.f_code.co_filename).name, frame.f_code.co_name
                calls.insert(0, f"{path}:{frame.f_lineno} {name}")
            frame = frame.f_back
        return tuple(calls)


@contextlib.contextmanager
def within(loop: str) -> Iterator[None]:
    """Let what is awaited and started here count for a loop."""
    token = _loop.set(loop)
    try:
        yield
    finally:
        _loop.reset(token)


def _cannot_fail(awaited: Any) -> bool:
    """Whether it is a coroutine or a context of code with points, or a context that only notes that it is entered."""
    inner = getattr(awaited, "gen", awaited)
    frame = getattr(inner, "cr_frame", None) or getattr(inner, "ag_frame", None)
    return isinstance(awaited, asyncio.Timeout | asyncio.TaskGroup) or (frame is not None and POINT in frame.f_globals)


async def _done_and_then(awaited: Awaitable[object], fault: BaseException) -> None:
    await awaited
    raise fault


class _Each:
    """An iteration, each of whose steps is a point."""

    def __init__(self, iterated: AsyncIterable[Any], point: Callable[[Any], Any]) -> None:
        self._iterator = aiter(iterated)
        self._point = point

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self._point(anext(self._iterator))


class _Points(ast.NodeTransformer):
    """Has each await call the point with what it awaits."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        node.value = _through_point(node.value)
        return node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        self.generic_visit(node)
        for item in node.items:
            item.context_expr = _through_point(item.context_expr)
        return node

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        self.generic_visit(node)
        node.iter = _through_point(node.iter, ast.keyword("each", ast.Constant(value=True)))
        return node


def _through_point(node: ast.expr, *keywords: ast.keyword) -> ast.expr:
    return ast.copy_location(ast.Call(ast.Name(POINT, ast.Load()), [node], list(keywords)), node)


def _recompiled(path: str) -> dict[tuple[str, int], CodeType]:
    """The code of all functions of a file with points, by `_identity`."""
    tree = ast.fix_missing_locations(_Points().visit(ast.parse(Path(path).read_text())))
    found: dict[tuple[str, int], CodeType] = {}
    left = [compile(tree, path, "exec", dont_inherit=True)]
    while left:
        code = left.pop()
        found[_identity(code)] = code
        left += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return found


def _identity(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _remove_point(module: ModuleType) -> None:
    delattr(module, POINT)

"""Lists of classes that stand as imports in a package: known by name before anything is imported.

A package writes, as type checkers and editors read it too,

    if TYPE_CHECKING:
        from package.one_method import OneMethod as OneMethod

    METHODS = Listing(__name__, "METHODS")
    __getattr__, __dir__, __all__ = lazily(__name__)
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

Names = dict[str, str]  # name -> the module that has it


class Listing(Mapping[str, type]):
    """Name on the command line -> class, for the imports above the list's own line.

    That name is the file's, with "-" for "_". A class is imported when it is asked for.
    """

    def __init__(self, package: str, name: str) -> None:
        self.name, above = name, blocks(package)[name]
        self.places = {m.rpartition(".")[2].replace("_", "-"): (m, n) for n, m in above.items()}

    def __repr__(self) -> str:
        return self.name

    def __getitem__(self, name: str) -> type:
        module, attribute = self.places[name]
        return getattr(importlib.import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def name_of(self, choice: Any) -> str | None:
        """The name of an object's class; None where it is none of the list."""
        cls = type(choice)
        same = (name for name, (_, own) in self.places.items() if own == cls.__name__)
        return next((name for name in same if self[name] is cls), None)


def lazily(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package that writes its imports so.

    They come when asked for; of ``from other import *`` the classes of the other's lists.
    """
    found = {name: m for block in blocks(package).values() for name, m in block.items()}

    def get(name: str) -> Any:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # A submodule of the same name may be bound here by its own import: take what it holds.
        value = getattr(importlib.import_module(found[name]), name)
        vars(sys.modules[package])[name] = value
        return value

    lists = [n for n, one in vars(sys.modules[package]).items() if isinstance(one, Listing)]
    names = sorted([*found, *lists])
    return get, lambda: names, names


@cache
def blocks(package: str) -> Mapping[str, Names]:
    """The imports of each ``if TYPE_CHECKING:`` in a package, under the name assigned after it."""
    found: dict[str, Names] = {}
    above: Names = {}
    for node in ast.parse(inspect.getsource(sys.modules[package])).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            above = {k: v for line in node.body for k, v in names_of(line).items()}
            found[""] = {**found.get("", {}), **above}  # of the whole package
        elif isinstance(node, ast.Assign):
            found.setdefault(ast.unparse(node.targets[0]), above)
    return found


def names_of(line: ast.stmt) -> Names:
    """What one import brings."""
    if not isinstance(line, ast.ImportFrom) or line.module is None:
        return {}
    if line.names[0].name != "*":
        return {alias.name: line.module for alias in line.names}
    lists = vars(importlib.import_module(line.module)).values()
    places = (p for one in lists if isinstance(one, Listing) for p in one.places.values())
    return {name: line.module for _, name in places}

"""Reads annotations: strings, forward references, `X | None` on Python 3.9, aliases and `Annotated`.

`typing.get_type_hints` evaluates everything or nothing and cannot evaluate `X | None` on 3.9, so
annotations are evaluated here one at a time, at any depth, each in the scope it was written in.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
import typing
from dataclasses import dataclass
from typing import Any, ForwardRef, Mapping, Optional, Union

import typing_extensions

__all__ = ["Scope", "UnresolvedName", "class_annotations", "evaluate", "peel"]


class UnresolvedName(Exception):
    """A name in an annotation is not defined (yet). `str()` is the missing name."""


@dataclass(frozen=True)
class Scope:
    """Where the names of an annotation are looked up."""

    globals: Mapping[str, Any]
    locals: Mapping[str, Any]

    @classmethod
    def of(cls, owner: Any, extra: Optional[Mapping[str, Any]] = None) -> Scope:
        """The scope of a class or function; `extra` are names local to the place that defines it."""
        module = sys.modules.get(getattr(owner, "__module__", None) or "")
        names = dict(getattr(owner, "__globals__", None) or getattr(module, "__dict__", {}))
        local: dict[str, Any] = dict(extra or {})
        if isinstance(owner, type):
            local.setdefault(owner.__name__, owner)
        return cls(names, local)


class _PipeToUnion(ast.NodeTransformer):
    """Rewrites `A | B` as `Union[A, B]`, which Python 3.9 can evaluate."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.BitOr):
            return node
        union = ast.Attribute(ast.Name("__aster_typing__", ast.Load()), "Union", ast.Load())
        return ast.Subscript(union, ast.Tuple([node.left, node.right], ast.Load()), ast.Load())


def evaluate(annotation: Any, scope: Scope) -> Any:
    """The annotation as an object, if it was a string or a forward reference. Its arguments are left alone."""
    while isinstance(annotation, (str, ForwardRef)):
        text = annotation if isinstance(annotation, str) else annotation.__forward_arg__
        tree: Any = ast.parse(text.strip(), mode="eval")
        if sys.version_info < (3, 10):
            tree = ast.fix_missing_locations(_PipeToUnion().visit(tree))
        names = {**scope.globals, "__aster_typing__": typing}
        try:
            # The text is the program's own annotation, as `typing.get_type_hints` evaluates it.
            annotation = eval(compile(tree, "<annotation>", "eval"), names, dict(scope.locals))
        except NameError as error:
            raise UnresolvedName(getattr(error, "name", None) or text) from error
    return annotation


def class_annotations(cls: type, extra: Optional[Mapping[str, Any]] = None) -> dict[str, tuple[Any, Scope]]:
    """Every annotation of a class and its bases, with the scope that each was written in."""
    found: dict[str, tuple[Any, Scope]] = {}
    # A TypedDict has only `dict` as its base but carries the annotations of all it was derived from.
    for base in reversed(cls.__mro__):
        if base is object:
            continue
        scope = Scope.of(base, extra)
        for name, annotation in _own_annotations(base).items():
            found[name] = (annotation, scope)
    return found


def _own_annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return dict(annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF))
    if sys.version_info >= (3, 10):
        return dict(inspect.get_annotations(cls))
    return dict(cls.__dict__.get("__annotations__", {}))  # noqa: RUF063 - on 3.9, where it gives the class's own


def peel(annotation: Any, scope: Scope) -> tuple[Any, tuple[Any, ...]]:
    """Evaluates and takes off `Annotated`, `NewType`, `type X = ...`, `Required`, `NotRequired`, `ReadOnly`
    and `Final`. Returns what is inside and the metadata met on the way, outermost first."""
    metadata: list[Any] = []
    while True:
        annotation = evaluate(annotation, scope)
        origin = typing_extensions.get_origin(annotation)
        if origin is typing_extensions.Annotated:
            inner, *extras = typing_extensions.get_args(annotation)
            metadata.extend(extras)
            annotation = inner
        elif origin in _QUALIFIERS:
            (annotation,) = typing_extensions.get_args(annotation)
        elif isinstance(annotation, _ALIASES):
            scope = Scope.of(annotation, scope.locals)
            annotation = annotation.__value__
        elif getattr(annotation, "__supertype__", None) is not None:
            annotation = annotation.__supertype__
        else:
            return annotation, tuple(metadata)


_QUALIFIERS = (
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
    typing_extensions.Final,
)
_ALIASES: tuple[Any, ...] = tuple(
    {typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType)}
)

_UNIONS: tuple[Any, ...] = (Union,) if sys.version_info < (3, 10) else (Union, types.UnionType)


def union_members(annotation: Any) -> Optional[tuple[Any, ...]]:
    """The alternatives of `Union[...]`, `Optional[...]` or `A | B`; None for anything else."""
    if typing_extensions.get_origin(annotation) in _UNIONS:
        return typing_extensions.get_args(annotation)
    return None

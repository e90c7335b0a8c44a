"""The reference of modules, as Markdown, from their docstrings (NumPy's style) and signatures."""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["markdown_of", "reference"]

_UNDERLINE = re.compile(r"-{3,}|={3,}")
_RULE = re.compile(r"={3,}( +={3,})+")
_LITERAL = re.compile(r"``([^`]+)``")
_HOME = re.compile(r"\bnkfast\.[a-z_.]+\.(?=[A-Z])|\b(?:collections\.abc|typing|decimal)\.")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def reference(*names: str) -> str:
    """Return the public names of modules, or only ``module:Name,Name``, in the order of a source.

    Compiled modules take their signatures from their ``.pyi``. ``Name()`` is a class without its
    members.
    """
    parts = []
    for wanted in names:
        module_name, _, chosen = wanted.partition(":")
        module = import_module(module_name)
        parts.append(f"## {module_name}")
        if not chosen:
            parts.append(markdown_of(inspect.getdoc(module) or ""))
        stub = _signatures_of_stub(module)
        for public in chosen.split(",") if chosen else _public(module):
            name = public.removesuffix("()")
            described = _described(name, getattr(module, name), stub)
            parts += islice(described, 3) if public.endswith("()") else described
    return "\n\n".join(part for part in parts if part)


def _public(module: ModuleType) -> list[str]:
    named = getattr(module, "__all__", None)
    if named is not None:
        return list(named)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def _described(name: str, value: Any, stub: dict[str, str]) -> Iterator[str]:
    if not (inspect.isclass(value) or callable(value)):
        shown = _ADDRESS.sub("", repr(value))
        if len(shown) <= 120:
            yield f"### {name}"
            yield f"```text\n{name} = {shown}\n```"
        return
    yield f"### {name}"
    yield _signature(name, value, stub)
    yield markdown_of(_own_doc(value))
    if not inspect.isclass(value):
        return
    for member, found in vars(value).items():
        doc = _own_doc(found)
        if member.startswith("_") or not doc:
            continue
        if isinstance(found, property) or inspect.isgetsetdescriptor(found):
            yield f"- `{name}.{member}`: {' '.join(markdown_of(doc).split())}"
        elif callable(getattr(value, member)):
            yield f"#### {name}.{member}"
            yield _signature(f"{name}.{member}", getattr(value, member), stub)
            yield markdown_of(doc)


def _own_doc(value: Any) -> str:
    inner = getattr(value, "__func__", value)
    doc = getattr(inner, "__doc__", None)
    is_made = is_dataclass(value) and isinstance(value, type)  # then the doc may be its signature
    if not isinstance(doc, str) or (is_made and doc.startswith(f"{value.__name__}(")):
        return ""
    return inspect.cleandoc(doc)


def _signature(name: str, value: Any, stub: dict[str, str]) -> str:
    said = stub.get(name)
    if said is None:
        try:
            found = inspect.signature(value)
        except (TypeError, ValueError):  # an exception or an enumeration of Python's
            return ""
        parameters = [one for one in found.parameters.values() if one.name not in ("self", "cls")]
        said = _ADDRESS.sub("", str(found.replace(parameters=parameters)))
        said = re.sub(
            r"\bnkfast\.[a-z_.]+\.(?=[A-Z])|\b(collections\.abc|typing|decimal)\.", "", said
        )
    short = name.rpartition(".")[2] if name.count(".") else name
    return f"```text\n{short}{said}\n```"


def _signatures_of_stub(module: ModuleType) -> dict[str, str]:
    source = Path(module.__file__ or "")
    stub = source.with_name(f"{module.__name__.rpartition('.')[2]}.pyi")
    if source.suffix == ".py" or not stub.is_file():
        return {}
    found: dict[str, str] = {}
    for node in ast.parse(stub.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = _spelled(node)
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef):
                    is_new = item.name in ("__new__", "__init__")
                    name = node.name if is_new else f"{node.name}.{item.name}"
                    found[name] = _spelled(item, is_bound=True, is_new=is_new)
    return found


def _spelled(node: ast.FunctionDef, *, is_bound: bool = False, is_new: bool = False) -> str:
    is_static = any(ast.unparse(one) == "staticmethod" for one in node.decorator_list)
    if is_bound and not is_static:
        (node.args.posonlyargs or node.args.args).pop(0)
    returned = "" if is_new or node.returns is None else f" -> {ast.unparse(node.returns)}"
    return f"({ast.unparse(node.args)}){returned}"


def markdown_of(doc: str) -> str:
    """Return a docstring of NumPy's style as Markdown: sections, lists of parameters, tables."""
    lines = _LITERAL.sub(r"`\1`", doc).splitlines()
    said: list[str] = []
    section = ""
    while lines:
        line = lines.pop(0)
        if lines and _UNDERLINE.fullmatch(lines[0].strip()) and line.strip() and line[0] != "=":
            lines.pop(0)
            section = line.strip()
            said.append(f"**{section}**\n")
        elif _RULE.fullmatch(line.strip()):
            said += _fenced(line, _taken(lines, lambda one: bool(one.strip())))
        elif line.startswith((">>>", "    ")) and section not in _LISTS:
            said += _fenced(line, _taken(lines, lambda one: bool(one.strip())))
        elif section in _LISTS and line and not line.startswith(" "):
            meaning = " ".join(part.strip() for part in _taken(lines, _is_indented))
            named, _, kind = line.partition(" : ")
            typed = f" ({kind})" if kind else ""
            said.append(f"- `{named}`{typed}: {meaning}" if meaning else f"- `{named}`{typed}")
        else:
            said.append(line.strip() if section in _LISTS else line)
    return "\n".join(said).strip()


_LISTS = ("Parameters", "Returns", "Raises", "Attributes", "Yields", "Warns", "Other Parameters")


def _taken(lines: list[str], belongs: Callable[[str], bool]) -> list[str]:
    taken = []
    while lines and belongs(lines[0]):
        taken.append(lines.pop(0))
    return taken


def _is_indented(line: str) -> bool:
    return line.startswith("    ")


def _fenced(first: str, rest: Iterable[str]) -> list[str]:
    return ["```text", *inspect.cleandoc("\n".join(["", first, *rest])).splitlines(), "```"]

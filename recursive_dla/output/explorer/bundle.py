"""The modules of the explorer as one script, since its page is one file.

Modules are put one after another, each behind those it imports, into one scope; ``import``, ``export`` and the doc
comments, most of which tell types, are taken out. That needs no parser as long as the modules keep to a few forms, and
whatever else there is, is refused::

    import { one, other } from "./model/module.mjs";
    import data from "./data.json" with { type: "json" };
    export class Name { … }

No import is renamed, none is dynamic, none leads back to where it started, and no two modules declare the same name.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["BundleError", "bundle"]

_IMPORT = re.compile(r'^import \{\s*([\w$]+(?:,\s*[\w$]+)*),?\s*\} from "(\.\.?/[^"]+\.mjs)";\n', re.MULTILINE)
_IMPORT_DATA = re.compile(r'^import (\w+) from "(\.\.?/[^"]+\.json)" with \{ type: "json" \};\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function\b|class\b|const\b|let\b)", re.MULTILINE)
# Of one name, or of a pattern with several.
_DECLARATION = re.compile(r"^(export )?(?:(?:async )?function\*?|class|const|let|var)\s+([\w$]+|[\[{])", re.MULTILINE)
_DOC = re.compile(r"^[ \t]*/\*\*(?:(?!\*/).)*\*/\n", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)
_LEFT_OVER = re.compile(r"^\s*(?:import|export)\b[^\n]*|\bimport\s*[(.][^\n]*", re.MULTILINE)


class BundleError(ValueError):
    """A module is written in a way that the bundle cannot take."""


@dataclass(frozen=True)
class _Module:
    """``imports`` has the names taken from each other module, by its path from the folder."""

    path: str
    text: str
    declared: frozenset[str]
    exported: frozenset[str]
    imports: dict[str, frozenset[str]]


def bundle(read: Callable[[str], str], entry: str) -> str:
    """The module ``entry``, and all that it imports, as one script. Equal modules give equal scripts, byte for byte.

    Args:
        read: Gives the text of a module by its path, or raises ``FileNotFoundError``.
        entry: The path of a module; addresses of imports are relative to that of the importing one.

    Raises:
        BundleError: A form that is not understood, an import that leads nowhere or in a circle, or a name that two
            modules declare.
    """
    owners: dict[str, str] = {}
    parts = []
    for module in _in_order(read, entry, {}, ()):
        for name in sorted(module.declared):
            if name in owners:
                raise BundleError(f"{owners[name]} and {module.path} both declare {name!r}; rename one of them")
            owners[name] = module.path
        parts.append(f"// {module.path}\n\n{module.text.strip()}\n")
    return "\n".join(parts)


def _in_order(
    read: Callable[[str], str], path: str, done: dict[str, _Module], above: tuple[str, ...]
) -> Iterator[_Module]:
    """``path`` behind what it imports, less what is done already; ``above`` are those that led here."""
    if path in above:
        circle = " → ".join([*above[above.index(path) :], path])
        raise BundleError(f"modules import one another in a circle: {circle}")
    if path in done:
        return
    module = _parsed(read, path)
    for other, names in module.imports.items():
        yield from _in_order(read, other, done, (*above, path))
        for name in sorted(names - done[other].exported):
            raise BundleError(f"{path} imports {name!r}, which {other} does not export")
    done[path] = module
    yield module


def _parsed(read: Callable[[str], str], path: str) -> _Module:
    try:
        text = read(path)
    except FileNotFoundError:
        raise BundleError(f"there is no module {path}") from None
    if path.endswith(".json"):
        name = frozenset({_stem(path)})
        return _Module(path, f"const {_stem(path)} = {json.dumps(json.loads(text))};", name, name, {})

    imports: dict[str, frozenset[str]] = {}
    for names, address in _IMPORT.findall(text):
        other = _resolve(path, address)
        found = frozenset(name.strip() for name in names.split(","))
        imports[other] = imports.get(other, frozenset()) | found
    for name, address in _IMPORT_DATA.findall(text):
        if name != _stem(address):
            raise BundleError(f"{path} must import {address} under its own name, {_stem(address)!r}, not as {name!r}")
        imports[_resolve(path, address)] = frozenset({name})

    declarations = _DECLARATION.findall(text)
    if any(name in "[{" for _, name in declarations):
        raise BundleError(f"{path} declares several names at once at its top level; declare them one by one")
    for form in (_IMPORT, _IMPORT_DATA, _EXPORT, _DOC):
        text = form.sub("", text)
    if left := _LEFT_OVER.search(_COMMENT.sub("", text)):
        raise BundleError(f"{path} has a form of import or export that the bundle does not know: {left[0].strip()}")
    return _Module(
        path,
        text,
        declared=frozenset(name for _, name in declarations),
        exported=frozenset(name for export, name in declarations if export),
        imports=imports,
    )


def _resolve(path: str, address: str) -> str:
    """The path of what ``path`` imports from ``address``."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), address))


def _stem(path: str) -> str:
    return posixpath.basename(path).split(".")[0]

"""How Sphinx builds the documentation: ``make docs``. The pages request nothing from the network."""

from __future__ import annotations

import contextlib
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from sphinx.application import Sphinx

from recursive_dla import __version__

ROOT = Path(__file__).parents[1]
PAGES = {"index": "README.md", "contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}

project = "recursive_dla"
copyright = "the recursive_dla developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "images"]

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Source", "notes_style")]

# Other projects' classes have no pages here to link to, nor have those that only annotations name, nor most modules.
nitpicky = True
_UNLINKED = r"(?!recursive_dla\b).*|recursive_dla\.(slices|store|weights|activations)\..*"
nitpick_ignore_regex = [("py:(class|obj|data)", _UNLINKED), ("py:mod", ".*")]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_title = f"recursive_dla {__version__}"
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    """Pages that are files of the repository: their text, with links as seen from this folder."""
    path = PAGES.get(page)
    if path is None:
        return
    text = (ROOT / path).read_text(encoding="utf-8")
    text = re.sub(r"\]\((?!https?:|#)", "](../", text).replace("](../docs/", "](")
    for other, file in PAGES.items():
        text = text.replace(f"](../{file})", f"]({other}.md)")
    source[0] = text + "\n" + source[0]


_SECTION = re.compile(r"(Args|Attributes|Example|Raises|Returns|Source|Yields)\b.*:")


def _formulas(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Indented blocks of a docstring's text are formulas and lists, whose line ends count."""
    kept: list[str] = []
    inside = False
    for place, line in enumerate(lines):
        if _SECTION.match(line):
            kept += lines[place:]
            break
        indented = line.startswith("    ")
        if indented and not inside and kept and not kept[-1] and not kept[-2].endswith("::"):
            kept += [".. code-block:: text", ""]
        inside = indented or (inside and not line)
        kept.append(line)
    lines[:] = kept


def _homes(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """Docstrings name public objects by the module that they live in, or bare; the pages have them by public name.

    What is there but has no page is left as it is written; what is not there is a warning.
    """
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py":
        return None
    module, _, last = target.rpartition(".")
    for name in (last, target):
        found = env.get_domain("py").resolve_xref(
            env, node["refdoc"], app.builder, node["reftype"], f"recursive_dla.{name}", node, content
        )
        if found is not None:
            return found
    if module.startswith("recursive_dla."):
        with contextlib.suppress(ImportError):
            return content if hasattr(import_module(module), last) else None
    return None


def _inline_math(translator: Any, node: Any) -> None:
    from docutils.nodes import SkipNode

    translator.body.append(convert(node.astext()))
    raise SkipNode


def _display_math(translator: Any, node: Any) -> None:
    from docutils.nodes import SkipNode

    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


def setup(app: Sphinx) -> None:
    app.connect("source-read", _read)
    app.connect("missing-reference", _homes)
    # Before napoleon, which rewrites the sections.
    app.connect("autodoc-process-docstring", _formulas, priority=100)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))

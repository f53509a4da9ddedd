"""The explorer's modules as one script: in order, in one scope, refused where the bundle does not understand them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest

from recursive_dla.output import explorer as viewer
from recursive_dla.output import places
from recursive_dla.output.explorer.bundle import BundleError, bundle
from recursive_dla.output.geometry import GEOMETRY

FOLDER = Path(viewer.__file__).parent
MODULES = {path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.mjs")}


def joined(**modules: str) -> str:
    """A bundle of modules by their names, from ``main``."""
    texts = {name.replace("__", "/") + ".mjs": textwrap.dedent(text) for name, text in modules.items()}

    def read(path: str) -> str:
        if path == "sizes.json":
            return '{"small": 1,\n "large": 2}\n'
        if path not in texts:
            raise FileNotFoundError(path)
        return texts[path]

    return bundle(read, "main.mjs")


def test_modules_follow_what_they_import_and_share_one_scope():
    script = joined(
        main="""\
            // Begins here.

            import { left } from "./parts/left.mjs";
            import {
              right,
              Right,
            } from "./parts/right.mjs";

            left(right, new Right());
            """,
        parts__left="""\
            import { shared } from "../shared.mjs";
            export function left() { return shared; }
            """,
        parts__right="""\
            import { shared } from "../shared.mjs";
            export const right = shared;
            export class Right {}
            """,
        shared="""\
            /** A number, @import { not } from "./anywhere.mjs" */
            export const shared = 1; // stays
            """,
    )
    assert script == textwrap.dedent("""\
        // shared.mjs

        const shared = 1; // stays

        // parts/left.mjs

        function left() { return shared; }

        // parts/right.mjs

        const right = shared;
        class Right {}

        // main.mjs

        // Begins here.


        left(right, new Right());
        """)


def test_data_is_imported_under_its_own_name():
    line = 'import sizes from "./sizes.json" with { type: "json" };\n'
    script = joined(
        main=f'import {{ other }} from "./other.mjs";\n{line}', other=f"{line}export const other = sizes.small;\n"
    )
    assert script.count('const sizes = {"small": 1, "large": 2};') == 1
    assert script.index("const sizes") < script.index("const other")


ONE = "export const one = 1;\n"


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"main": 'import { one as two } from "./a.mjs";\n', "a": ONE}, "main.mjs has a form of import or export"),
        ({"main": 'import one from "./a.mjs";\n', "a": ONE}, 'does not know: import one from "./a.mjs";'),
        ({"main": 'import * as a from "./a.mjs";\n', "a": ONE}, "does not know: import * as a"),
        ({"main": 'import "./a.mjs";\n', "a": ONE}, 'does not know: import "./a.mjs";'),
        ({"main": "import { one } from './a.mjs';\n", "a": ONE}, "does not know: import { one }"),
        ({"main": 'const a = await import("./a.mjs");\n', "a": ONE}, 'does not know: import("./a.mjs");'),
        ({"main": "const here = import.meta.url;\n"}, "does not know: import.meta.url;"),
        ({"main": "export default class {}\n"}, "does not know: export default class {}"),
        ({"main": "const one = 1;\nexport { one };\n"}, "does not know: export { one };"),
        ({"main": 'export * from "./a.mjs";\n', "a": ONE}, "does not know: export * from"),
        ({"main": "export const { one, two } = {};\n"}, "main.mjs declares several names at once"),
        ({"main": "const [one, two] = [];\n"}, "main.mjs declares several names at once"),
        ({"main": 'import { two } from "./a.mjs";\n', "a": ONE}, "main.mjs imports 'two', which a.mjs does not export"),
        ({"main": 'import { one } from "./a.mjs";\n', "a": "const one = 1;\n"}, "imports 'one', which a.mjs does not"),
        ({"main": 'import { one } from "./b.mjs";\n', "a": ONE}, "there is no module b.mjs"),
        (
            {"main": 'import { one } from "./a.mjs";\nfunction one() {}\n', "a": ONE},
            "a.mjs and main.mjs both declare 'one'",
        ),
        ({"main": 'import x from "./sizes.json" with { type: "json" };\n'}, "under its own name, 'sizes', not as 'x'"),
        (
            {
                "main": 'import { a } from "./a.mjs";\n',
                "a": 'import { b } from "./b.mjs";\nexport const a = 1;\n',
                "b": 'import { a } from "./a.mjs";\nexport const b = 1;\n',
            },
            "in a circle: a.mjs → b.mjs → a.mjs",
        ),
        ({"main": 'import { one } from "./main.mjs";\n'}, "in a circle: main.mjs → main.mjs"),
    ],
)
def test_what_is_not_understood_is_refused(modules: dict[str, str], message: str):
    with pytest.raises(BundleError, match=re.escape(message)):
        joined(**modules)


def test_every_module_of_the_explorer_is_in_its_script():
    script = viewer._script()
    assert {line[3:] for line in script.splitlines() if line.startswith("// ") and line.endswith(".mjs")} == set(
        MODULES
    )
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    assert max(text.count("\n") for text in MODULES.values()) < 400
    assert "innerHTML" not in script
    assert "</script" not in script


def test_what_a_module_exports_is_imported_by_another():
    for path, text in MODULES.items():
        others = "".join(other for name, other in MODULES.items() if name != path)
        names = re.findall(r"^export (?:function|class|const) (\w+)", text, re.MULTILINE)
        unused = [name for name in names if not re.search(rf"^import [^;]*\b{name}\b", others, re.MULTILINE)]
        assert not unused, f"{path} exports {unused} for nobody"


def test_explorer_and_figures_draw_by_the_same_numbers():
    script = viewer._script()
    figures = Path(places.__file__).read_text(encoding="utf-8")
    for name in (field.name for field in fields(GEOMETRY)):
        assert f"geometry.{name}" in script
        assert f"GEOMETRY.{name}" in figures


def needs(text: str, folder: Path) -> set[str]:
    """The modules that a module imports, also those of which it needs the types alone."""
    addresses = re.findall(r'(?:^import|@import)\b[^;*]*? from "(\.[^"]+\.mjs)"', text, re.MULTILINE)
    return {(FOLDER / folder / address).resolve().relative_to(FOLDER).as_posix() for address in addresses}


def test_data_flows_one_way():
    """Even types are taken from what comes before, and ``model/`` takes nothing from ``view/``."""
    left = {path: needs(text, Path(path).parent) for path, text in MODULES.items()}
    assert left["view/stage.mjs"] >= {"model/session.mjs", "view/scene.mjs"}
    assert not [
        path for path, found in left.items() if path.startswith("model/") and any("view/" in other for other in found)
    ]
    while left:
        first = [path for path, found in left.items() if not found & set(left)]
        assert first, f"these need one another: {left}"
        for path in first:
            del left[path]

"""Modules of the core that import each other, also for types only, have to be read together: they stay few."""

import ast
from itertools import combinations
from pathlib import Path

CORE = Path(__file__).parents[2] / "mocha_core"
#: A layer is built by a builder, a break is taken by a solver, and a trainer is asked for what it keeps of a net.
CIRCLES = {
    ("mocha_core.describe.builder", "mocha_core.describe.layer"),
    ("mocha_core.net.net", "mocha_core.net.trainer"),
    ("mocha_core.train.coffee_break", "mocha_core.train.solver"),
}


def imported(source, modules):
    """Which of the modules a source imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports of the core are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in names}
    return found & modules


def test_what_a_source_imports():
    source = "import a.b\nfrom a import c, d\nif x:\n    from a.e import f\ndef g():\n    from numpy import h"
    assert imported(source, {"a", "a.b", "a.c", "a.e", "a.f"}) == {"a.b", "a.c", "a", "a.e"}


def test_few_modules_import_each_other():
    paths = {".".join(path.relative_to(CORE.parent).with_suffix("").parts): path for path in CORE.rglob("*.py")}
    imports = {name: imported(path.read_bytes(), set(paths)) for name, path in paths.items()}
    assert imports["mocha_core.net.net"] >= {"mocha_core.net.runs", "mocha_core.net.trainer"}
    pairs = {(one, two) for one, two in combinations(sorted(paths), 2) if two in imports[one] and one in imports[two]}
    assert pairs == CIRCLES

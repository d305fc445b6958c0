"""The core stays small: that is what makes it possible to read."""

import ast
import tokenize
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "mocha_core"
#: Lines of code that each package of the core may have. A limit for each shows where the core grows.
LIMITS = {
    ".": 600,
    "host": 550,
    "plugin": 600,
    "graph": 520,
    "compile": 2100,
    "describe": 400,
    "net": 1950,
    "train": 850,
}
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
NO_CODE |= {tokenize.ENCODING, tokenize.ENDMARKER}


def lines_of_code(path):
    """Lines that hold anything but comments and strings standing by themselves (docstrings)."""
    with path.open("rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in NO_CODE]
    used = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            used -= set(range(node.lineno, node.end_lineno + 1))
    return len(used)


def test_rule(tmp_path):
    module = tmp_path / "module.py"
    docstring = ['"""Doc', 'string."""', "", "# Comment."]
    code = ['x = """a', 'b"""', "def f():", "    return (", "        x", "    )"]
    module.write_text("\n".join([*docstring, *code, '    "Another string."']))
    assert lines_of_code(module) == len(code)


@pytest.mark.parametrize("package", LIMITS)
def test_a_package_stays_within_its_lines_of_code(package):
    lines = sum(map(lines_of_code, (CORE / package).glob("*.py")))
    assert LIMITS[package] / 2 < lines <= LIMITS[package]


def test_every_package_has_a_limit():
    packages = {str(path.parent.relative_to(CORE)) for path in CORE.rglob("*.py")}
    assert packages - {"testing"} == set(LIMITS), "the kit is no part of what runs"


def test_no_module_is_longer_than_400_lines():
    modules = [*CORE.rglob("*.py"), *CORE.parent.glob("plugins/*/src/**/*.py")]
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    assert {name: n for name, n in lengths.items() if n > 400} == {}

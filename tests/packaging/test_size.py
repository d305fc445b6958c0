"""The core stays small: that is what makes it possible to read."""

import ast
import tokenize
from pathlib import Path

CORE = Path(__file__).parents[2] / "mocha_core"
#: The kit for plugin authors' tests is no part of what runs.
MODULES = [path for path in sorted(CORE.rglob("*.py")) if "testing" not in path.relative_to(CORE).parts]
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


def test_core_has_fewer_than_3800_lines_of_code():
    assert 1000 < sum(map(lines_of_code, MODULES)) < 3800


def test_no_module_of_the_core_is_longer_than_400_lines():
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: n for name, n in lengths.items() if n > 400} == {}

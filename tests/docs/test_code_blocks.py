"""Every code block of the documentation runs, and prints what the page says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
RUN_PAGE = Path(__file__).with_name("run_page.py")


def run(page, folder):
    environment = os.environ | {"PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, RUN_PAGE, page]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=300)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_page(page, tmp_path):
    done = run(page, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```", "printed something else"),
        ("```python\nprint(1)\n```", "printed something else"),
        ("```python\n1 / 0\n```", "ZeroDivisionError"),
        ("```python\nimport warnings\nwarnings.warn('old')\n```", "UserWarning: old"),
        ("```pycon\n>>> 1 + 1\n3\n```", "Expected:\n    3\nGot:\n    2"),
        ("```console\n$ exit 3\n```", "failed with status 3"),
        ("```console\n$ echo one\ntwo\n```", "printed something else"),
        ("```toml\n[project]\n```", "needs a :caption:"),
    ],
)
def test_a_page_that_is_wrong_fails(text, complaint, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    done = run(page, tmp_path)
    assert done.returncode == 1
    assert "page.md:2: " in done.stderr
    assert complaint in done.stderr


def test_a_page_is_one_session(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```{code-block} python\n:caption: src/acme/__init__.py\n\nanswer = 42\n```\n"
        "```python\nimport sys\nsys.path.insert(0, 'src')\nfrom acme import answer\nprint(answer)\n```\n"
        "```text\n4...\n```\n<!-- not run: it would never end -->\n```python\nwhile True: pass\n```\n"
        "```pycon\n>>> answer + 1\n43\n```\n```console\n$ cat src/acme/__init__.py\nanswer = 42\n```\n"
    )
    done = run(page, tmp_path)
    assert done.returncode == 0, done.stderr

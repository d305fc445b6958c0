"""Runs the code blocks of one page as a reader would, in order and in the working directory: `python run_page.py PAGE`.

- `python`: run in one namespace for the page. What it prints has to be the `text` block right behind it.
- `pycon`: compared as a doctest.
- any language with a `:caption:`: the content of the file of that name.
- `console`: each `$ command` is run; what it prints is compared where the block shows output.
- `<!-- not run: reason -->` before a block leaves it out.

Output is compared as doctests do it: `...` stands for anything.
"""

import contextlib
import doctest
import io
import os
import re
import signal
import subprocess
import sys
import tomllib
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FENCE = re.compile(
    r"^(?P<ticks>`{3,})(?:\{code-block\} )?(?P<language>\w+)[^\n]*\n(?P<options>(?::[\w-]+:[^\n]*\n)*)\n?"
    r"(?P<text>.*?)^(?P=ticks)$",
    re.MULTILINE | re.DOTALL,
)
CAPTION = re.compile(r"^:caption: `?([^`\n]+)`?$", re.MULTILINE)
SKIP = re.compile(r"<!-- not run: .{10,} -->\n\Z")
CHECKER = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS


@dataclass
class Block:
    """A fenced block: `output` is the text block right behind it, `caption` the file whose content it is."""

    language: str
    text: str
    line: int
    caption: str = ""
    skipped: bool = False
    output: str | None = None


def blocks(page):
    """The fenced blocks of a page, without those that show the output of others."""
    found, end = [], 0
    for match in FENCE.finditer(page):
        between, end = page[end : match.start()], match.end()
        if match["language"] == "text" and found and not between.strip():
            found[-1].output = match["text"]
            continue
        caption = CAPTION.search(match["options"])
        line = page.count("\n", 0, match.start("text")) + 1
        skipped = SKIP.search(page[: match.start()]) is not None
        found.append(Block(match["language"], match["text"], line, caption[1] if caption else "", skipped))
    return found


class Page:
    """A page, its namespace, and the projects that it has installed."""

    def __init__(self, path):
        self.path = path
        self.module = sys.modules["page"] = ModuleType("page")
        # One for the whole page: log handlers hold on to it.
        self.printed = io.StringIO()
        self.environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(self):
        for block in blocks(self.path.read_text(encoding="utf-8")):
            if block.skipped or block.language == "text":
                continue
            try:
                self.run_block(block)
            except Exception as error:
                # Nothing of this file: only what happened in the page and below.
                frames = traceback.extract_tb(error.__traceback__)
                shown = [f for f in frames if f.filename != __file__]
                trace = "".join([*traceback.format_list(shown), *traceback.format_exception_only(error)])
                sys.exit(f"{self.path}:{block.line}: {trace}")

    def run_block(self, block):
        if block.caption:
            file = Path(block.caption)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self.run_python(block)
        elif block.language == "pycon":
            self.run_doctest(block)
        elif block.language == "console":
            self.run_console(block)
        else:
            raise ValueError(f"a block of {block.language} needs a :caption:, or a reason not to run it")

    def run_python(self, block):
        code = compile("\n" * (block.line - 1) + block.text, self.path, "exec")
        self.printed.seek(0)
        self.printed.truncate()
        with contextlib.redirect_stdout(self.printed):
            exec(code, vars(self.module))
        self.compare(self.printed.getvalue(), block.output or "", block.text)

    def run_doctest(self, block):
        test = doctest.DocTestParser().get_doctest(block.text, {}, self.path.name, str(self.path), block.line - 1)
        test.globs = vars(self.module)
        runner, report = doctest.DocTestRunner(optionflags=FLAGS), io.StringIO()
        if runner.run(test, out=report.write, clear_globs=False).failed:
            raise AssertionError(report.getvalue())

    def run_console(self, block):
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if project := re.fullmatch(r"pip install -e (\S+)", command):
                self.install(Path(project[1]))
                continue
            done = subprocess.run(
                command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environment
            )
            if done.returncode:
                raise AssertionError(f"$ {command}\nfailed with status {done.returncode}:\n{done.stdout}")
            if output.strip():
                self.compare(done.stdout, output, f"$ {command}\n")

    def install(self, folder):
        """Put a project on the path with its metadata, as `pip install -e` does, but in no environment."""
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        source = (folder / "src").resolve()
        information = source / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        information.mkdir()
        metadata = {"Metadata-Version": "2.4", "Name": project["name"], "Version": project["version"]}
        lines = [*metadata.items(), ("License-Expression", project["license"])]
        lines += [("Requires-Dist", requirement) for requirement in project["dependencies"]]
        (information / "METADATA").write_text("".join(f"{k}: {v}\n" for k, v in lines), encoding="utf-8")
        points = [
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in named.items())
            for group, named in project["entry-points"].items()
        ]
        (information / "entry_points.txt").write_text("".join(points), encoding="utf-8")
        sys.path.insert(0, str(source))
        self.environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(source), self.environment.get("PYTHONPATH")))
        )

    @staticmethod
    def compare(received, expected, source):
        if not CHECKER.check_output(expected, received, FLAGS):
            difference = CHECKER.output_difference(doctest.Example(source, expected), received, FLAGS)
            raise AssertionError(f"{source}printed something else.\n{difference}")


if __name__ == "__main__":
    sys.path[0] = ""  # as in a REPL
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores in the background
    Page(Path(sys.argv[1])).run()

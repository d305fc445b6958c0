"""The distributions of the tree agree with each other."""

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PLUGINS = {f.name: tomllib.loads((f / "pyproject.toml").read_text(encoding="utf-8")) for f in FOLDERS}
VERSION = CORE["project"]["version"]
#: What plugins may import of the core: the face for users, that for authors, and the kit.
FACES = {"mocha_core", "mocha_core.api", "mocha_core.testing"}
#: Too slow for a module that every `import mocha_core` may load.
HEAVY = {"numpy", "h5py", "tqdm", "cffi", "cupy", "threadpoolctl"}


def requirements(project):
    extras = project.get("optional-dependencies", {}).values()
    return [*project["dependencies"], *(r for extra in extras for r in extra)]


@pytest.mark.parametrize("name", PLUGINS)
def test_all_versions_are_equal(name):
    assert PLUGINS[name]["project"]["version"] == VERSION


@pytest.mark.parametrize("name", PLUGINS)
def test_plugins_require_the_core_of_their_version(name):
    assert f"mocha-core~={VERSION}" in PLUGINS[name]["project"]["dependencies"]


@pytest.mark.parametrize("name", ["core", *PLUGINS])
def test_distributions_of_the_tree_are_required_in_this_version(name):
    project = (CORE if name == "core" else PLUGINS[name])["project"]
    ours = {p["project"]["name"] for p in PLUGINS.values()} | {"mocha-core"}
    for requirement in requirements(project):
        required = requirement.partition("~=")[0]
        if required.startswith("mocha-") and "[" not in required:
            assert required in ours
            assert requirement == f"{required}~={VERSION}"


def test_the_core_depends_on_no_plugin():
    assert not [r for r in CORE["project"]["dependencies"] if r.startswith("mocha")]


@pytest.mark.parametrize("name", PLUGINS)
def test_distribution_package_and_folder_have_one_name(name):
    assert PLUGINS[name]["project"]["name"] == name.replace("_", "-")
    (module,) = PLUGINS[name]["project"]["entry-points"]["mocha"].values()
    assert module == f"{name}._plugin"
    assert (ROOT / "plugins" / name / "src" / name / "py.typed").is_file()


@pytest.mark.parametrize("name", PLUGINS)
def test_licence_travels_with_the_distribution(name):
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (ROOT / "plugins" / name / "LICENSE").read_text(encoding="utf-8").startswith(licence)


@pytest.mark.parametrize("module", ["mocha_core", *(f"{name}._plugin" for name in PLUGINS)])
def test_finding_a_plugin_imports_nothing_heavy(module):
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert HEAVY.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("name", PLUGINS)
def test_no_plugin_is_forgotten_by_the_build(name):
    assert f"-e ./plugins/{name}\n" in (ROOT / "tox.ini").read_text(encoding="utf-8")
    (line,) = [
        line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if line.startswith("PLUGINS")
    ]
    assert name.removeprefix("mocha_") in line.split()


def imported(source):
    """The dotted names that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_public(name):
    """Whether plugins may import a dotted name: it is in a face of the core, or not of the core at all."""
    module, _, attribute = name.rpartition(".")
    inside = name.startswith("mocha_core") and name not in FACES
    return not inside or (module in FACES and attribute in dir(import_module(module)))


@pytest.mark.parametrize("folder", [*(f"plugins/{name}" for name in PLUGINS), "examples/plugin_template"])
def test_plugins_import_public_names_of_the_core(folder):
    sources = {path: path.read_bytes() for path in (ROOT / folder / "src").rglob("*.py")}
    names = {(path.name, name) for path, source in sources.items() for name in imported(source)}
    assert any(name.startswith("mocha_core") for _, name in names)
    assert sorted((path, name) for path, name in names if not is_public(name)) == []


@pytest.mark.parametrize("name", ["mocha_core.graph.op.Op", "mocha_core.checks", "mocha_core.host.cpus"])
def test_what_is_inside_of_the_core_is_not_public(name):
    assert not is_public(name)

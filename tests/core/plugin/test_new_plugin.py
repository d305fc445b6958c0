"""`mocha new-plugin`: what it writes, and what it refuses."""

import tomllib
from pathlib import Path

import pytest

from mocha_core import __version__, cli
from mocha_core.errors import ConfigurationError, FileError
from mocha_core.plugin import new_plugin
from mocha_core.plugin.new_plugin import write_plugin

TEMPLATE = Path(__file__).parents[3] / "examples" / "plugin_template"


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_it_is_a_copy_of_the_template_under_other_names(tmp_path):
    folder = write_plugin("umbrella-cold-brew", tmp_path / "made" / "for it")
    assert folder == tmp_path / "made" / "for it" / "umbrella-cold-brew"
    assert files(folder) == {
        ".github/workflows/test.yml", ".gitignore", "LICENSE", "README.md", "pyproject.toml", "tests/test_plugin.py",
        *(f"src/umbrella_cold_brew/{name}" for name in ("__init__.py", "_plugin.py", "layer.py", "py.typed")),
    }  # fmt: skip
    for name in files(folder):
        text = (folder / name).read_text(encoding="utf-8")
        original = TEMPLATE / name.replace("umbrella_cold_brew", "acme_softplus")
        assert "acme" not in text.lower()
        text = text.replace("umbrella-cold-brew", "acme-softplus").replace("umbrella_cold_brew", "acme_softplus")
        text = text.replace("umbrella.cold_brew", "acme.softplus").replace("UmbrellaColdBrew", "AcmeSoftplus")
        assert text == original.read_text(encoding="utf-8")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing else is left there"


@pytest.mark.parametrize(("name", "op"), [("umbrella-cold-brew", "umbrella.cold_brew"), ("power", "power.power")])
def test_its_op_has_the_maker_in_front(tmp_path, name, op):
    folder = write_plugin(name, tmp_path)
    package = folder / "src" / name.replace("-", "_")
    assert f'    name = "{op}"\n' in (package / "layer.py").read_text(encoding="utf-8")
    assert f'    ops.add("{op}", ' in (package / "_plugin.py").read_text(encoding="utf-8")


def test_the_template_can_be_published(tmp_path):
    folder = write_plugin("cold-brew", tmp_path)
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "cold-brew"
    assert project["dependencies"] == [f"mocha-core~={__version__}"]
    assert project["entry-points"]["mocha"] == {"cold-brew": "cold_brew._plugin"}
    assert "mocha-core[testing]" in project["optional-dependencies"]["test"]
    assert {project["readme"], *project["license-files"]} <= files(folder)


def test_what_running_the_template_left_behind_is_not_copied(tmp_path, monkeypatch):
    template = tmp_path / "template"
    write_plugin("acme-other", tmp_path).rename(template)
    expected = files(template)
    for leftover in (
        "src/__pycache__/x.pyc",
        ".pytest_cache/v",
        ".ruff_cache/v",
        "dist/x.whl",
        "a.egg-info/b",
        ".venv/c",
    ):
        (template / leftover).parent.mkdir(parents=True, exist_ok=True)
        (template / leftover).write_bytes(b"\xff")
    monkeypatch.setattr(new_plugin, "template", lambda: template)
    assert files(write_plugin("cold-brew", tmp_path)) == expected


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        *((name, "expected at most 50 small letters, digits and single '-'") for name in (
            "", "Brew", "cold_brew", "cold brew", "cold--brew", "-brew", "brew-", "2go", "../brew", "brew/x", "brü",
            "brew\n", "b" * 51,
        )),
        ("mocha", "the project's own"),
        ("mocha-brew", "the project's own"),
        ("class", "a word of Python"),
        ("json", "'json' is a word of Python, or a module"),
        ("numpy", "'numpy' is a word of Python, or a module"),
        ("mocha-core", "the project's own"),
    ],
)  # fmt: skip
def test_names_that_no_plugin_can_have_are_refused(tmp_path, name, problem):
    with pytest.raises(ConfigurationError, match=r"A plugin cannot be named .*acme-swish\.$") as caught:
        write_plugin(name, tmp_path)
    assert problem in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_refused_and_stays(tmp_path, capsys):
    (tmp_path / "cold-brew").mkdir()
    (tmp_path / "cold-brew" / "mine").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("cold-brew", "dangling"):
        assert cli.main(["new-plugin", name, "--to", str(tmp_path)]) == 1
        assert capsys.readouterr().err == (
            f"mocha: '{tmp_path / name}' exists. Choose another name, or another place: --to DIR.\n"
        )
    assert files(tmp_path) == {"cold-brew/mine"}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match=r"cold-brew' cannot be written: .*--to DIR"):
        write_plugin("cold-brew", tmp_path / "file")


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(folder, name):
        assert files(folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(new_plugin, "rename", fail)
    with pytest.raises(FileError, match="No space left on device"):
        write_plugin("cold-brew", tmp_path)
    assert list(tmp_path.iterdir()) == []

"""A frozen application has modules without the metadata of their distributions: errors do not say "not installed"."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parents[3] / "mocha_core"
COLLECT = (
    "{0} can be imported, but the metadata with the entry point are missing, as in a frozen application. Collect them "
    "(PyInstaller: --collect-all {1} --copy-metadata {0}), or register it first: "
    "mocha_core.api.plugin_manager().add_plugin({1}._plugin, '{0}')."
)
PLUGIN = """
from mocha_core import hookimpl
@hookimpl
def mocha_register_backends(backends):
    backends.add("toy", "mocha_core.testing.backends:ReferenceBackend")
"""


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """Runs Python where the core and a plugin can be imported, and neither has metadata."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "mocha_core").symlink_to(CORE, target_is_directory=True)
    (folder / "mocha_toy").mkdir()
    (folder / "mocha_toy" / "__init__.py").touch()
    (folder / "mocha_toy" / "_plugin.py").write_text(PLUGIN)
    (folder / "ours" / "mocha_cpu").mkdir(parents=True)
    (folder / "ours" / "mocha_cpu" / "_plugin.py").touch()
    dependencies = {str(Path(sys.modules[name].__file__).parents[1]) for name in ("numpy", "pluggy", "packaging")}
    hide = (
        "import importlib.metadata, mocha_core.plugin.frozen as f, mocha_core.plugin.manager as p\n"
        "p.distributions = lambda: ();\n"
        "def version(name): raise importlib.metadata.PackageNotFoundError(name)\n"
        "importlib.metadata.version = f.version = p.version = version\n"
    )

    def run(code):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *dependencies])}
        # Without `site`, editable installations cannot be imported.
        command = [sys.executable, "-S", "-c", hide + "import mocha_core as mocha\n" + code]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=100)

    return run


@pytest.mark.parametrize(
    ("code", "says", "distribution"),
    [
        ("mocha.System('toy')", "No backend 'toy'. No installed plugin registers any. ", "mocha-toy"),
        ("mocha.System()", "No backend is available. ", "mocha-toy"),
        ("mocha.layers.ToyLayer", "No layer 'ToyLayer'. No installed plugin registers any. ", "mocha-toy"),
        ("__import__('sys').path.append('ours'); mocha.System('cpu')", "No backend 'cpu'. ", "mocha-cpu"),
        ("mocha.load_network('toy.x', None)", "the ending '.x' is unknown. Known: ", "mocha-toy"),
    ],
)
def test_errors_name_the_way_out(frozen, code, says, distribution):
    done = frozen(code)
    assert says + COLLECT.format(distribution, distribution.replace("-", "_")) in done.stderr


def test_the_way_out_leads_out(frozen):
    done = frozen(
        "import mocha_toy._plugin, mocha_core.plugin.manager\n"
        "mocha_core.plugin.manager.plugin_manager().add_plugin(mocha_toy._plugin, 'mocha-toy')\n"
        "with mocha.System('toy') as system: print(system.backend.name, mocha.__version__)"
    )
    assert done.stdout.split()[1:] == ["unknown"], done.stderr

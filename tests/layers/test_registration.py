"""What `mocha_layers_std` offers, and that looking imports nothing."""

import ast
import inspect
import subprocess
import sys

import mocha_layers_std
import pytest

import mocha_core
from mocha_core.plugin.manager import registries

KINDS = {
    "layers": mocha_layers_std.LAYERS,
    "neurons": mocha_layers_std.NEURONS,
    "initializers": mocha_layers_std.INITIALIZERS,
    "regularizers": mocha_layers_std.REGULARIZERS,
    "transformers": mocha_layers_std.TRANSFORMERS,
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_same_object_from_plugin_and_namespace(kind, name):
    assert getattr(getattr(mocha_core, kind), name) is getattr(mocha_layers_std, name)


def test_ops_are_registered_under_their_names():
    from mocha_layers_std._plugin import OPS

    for name in OPS:
        assert registries().ops.get(name).name == name


def test_typed_names_are_the_names():
    tree = ast.parse(inspect.getsource(mocha_layers_std))
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    typed = {alias.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    offered = {name: f"mocha_layers_std.{module}" for names in KINDS.values() for name, module in names.items()}
    assert typed == offered
    assert set(offered) == set(mocha_layers_std.__all__) <= set(dir(mocha_layers_std))


def test_unknown_name():
    with pytest.raises(AttributeError, match="'mocha_layers_std' has no attribute 'MaxoutLayer'"):
        mocha_layers_std.MaxoutLayer  # noqa: B018


def test_import_is_light():
    code = "import sys, mocha_layers_std._plugin; print([m for m in ('numpy', 'h5py') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

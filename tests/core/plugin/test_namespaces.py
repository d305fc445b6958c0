"""The modules over the registries: what they list, import and say."""

import sys
from types import SimpleNamespace

import pytest
from toys.relu import ReluLayer

from mocha_core import backends, errors, hookimpl, layers, neurons
from mocha_core.plugin import manager as plugins
from mocha_core.plugin import namespace


@pytest.fixture(autouse=True)
def acme(register):
    class Plugin:
        @hookimpl
        def mocha_register_layers(self, layers):
            layers.add("AcmeLayer", "toys.relu:ReluLayer")
            layers.add("AcmeMode", SimpleNamespace(Fast=1))

        @hookimpl
        def mocha_register_neurons(self, neurons):
            neurons.add("AcmeNeuron", "nowhere_at_all:Neuron")

    register(Plugin(), "acme")


def test_attributes_are_what_plugins_registered():
    from mocha_core.layers import AcmeLayer

    assert AcmeLayer is layers.AcmeLayer is ReluLayer
    assert layers.AcmeMode.Fast == 1
    assert {"AcmeLayer", "AcmeMode"} <= set(dir(layers))
    assert {"plain", "blocked", "deferred"} <= set(dir(backends))
    assert "AcmeLayer" not in dir(neurons)


def test_a_missing_name_is_an_attribute_error_with_a_hint():
    with pytest.raises(AttributeError, match=r"No layer 'AcmeLayr'\. Did you mean 'AcmeLayer'\?.*mocha plugins"):
        _ = layers.AcmeLayr
    with pytest.raises(ImportError, match=r"No layer 'AcmeLayr'\. Did you mean 'AcmeLayer'\?"):
        from mocha_core.layers import AcmeLayr  # noqa: F401
    assert not hasattr(layers, "Nothing")
    assert not hasattr(layers, "__path__")


@pytest.mark.parametrize(
    ("space", "name", "message"),
    [
        (neurons, "Acme", r"No neuron 'Acme'\. Did you mean neurons\.AcmeNeuron\?"),
        (neurons, "acme_layer", r"Did you mean neurons\.AcmeNeuron\?"),
        (layers, "Dense", r"No layer 'Dense'\. Did you mean layers\.InnerProductLayer\?"),
        (layers, "Conv2D", r"Did you mean layers\.ConvolutionLayer\?"),
        (layers, "MaxPool2d", r"Did you mean layers\.PoolingLayer\?"),
        (
            layers,
            "ReLULayer",
            r"ReLU is a neuron, which layers take along: InnerProductLayer\(\.\.\., neuron=neurons\.ReLU",
        ),
        (neurons, "LeakyReLU", r"Did you mean neurons\.LReLU\?"),
        (layers, "SGD", r"Did you mean solvers\.SGD\?"),
        (layers, "x" * 5000, r"No layer 'x{60}\.\.\.'\. Registered: "),
    ],
)
def test_a_name_that_is_another_one_here(space, name, message):
    with pytest.raises(errors.UnknownNameError, match=message) as caught:
        getattr(space, name)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["LSTMLayer", "RNNLayer", "GRU", "Nothing"])
def test_a_name_that_is_near_to_none_is_answered_with_the_list(name):
    with pytest.raises(errors.UnknownNameError, match=rf"No layer '{name}'\. Registered: .*AcmeLayer"):
        getattr(layers, name)


def test_a_name_whose_import_fails_names_the_plugin():
    with pytest.raises(errors.PluginError, match="Cannot load 'AcmeNeuron', registered by plugin 'acme'"):
        _ = neurons.AcmeNeuron


def test_a_first_party_name_says_which_package_has_it(tmp_path, monkeypatch):
    stub = "from mocha_layers_std.pooling import SpecialPoolingLayer as SpecialPoolingLayer\n"
    (tmp_path / "layers.pyi").write_text(stub)
    monkeypatch.setattr(namespace, "__file__", str(tmp_path / "plugin" / "namespace.py"))
    record = plugins.PluginRecord("layers_std", "mocha-layers-std", "0.1.0", "failed", ImportError("broken"))
    records = plugins.plugin_manager().records
    others = [r for r in records if r.distribution != "mocha-layers-std"]
    monkeypatch.setattr(plugins.plugin_manager(), "records", others)
    with pytest.raises(errors.UnknownNameError, match=r"not installed. Install it: pip install mocha-layers-std"):
        _ = layers.SpecialPoolingLayer
    monkeypatch.setattr(plugins.plugin_manager(), "records", [*others, record])
    with pytest.raises(errors.UnknownNameError, match=r"mocha-layers-std 0.1.0 .* which is failed") as caught:
        _ = layers.SpecialPoolingLayer
    assert caught.value.__cause__ is record.error


def test_a_name_of_a_plugin_that_failed_half_way_says_which(monkeypatch):
    class HalfWay:
        @hookimpl
        def mocha_register_layers(self, layers):
            layers.add("HalfLayer", "toys.relu:ReluLayer")
            raise ZeroDivisionError("half way")

    manager = plugins.plugin_manager()
    monkeypatch.setattr(manager.registries.layers, "dropped", {})
    with pytest.raises(ZeroDivisionError) as caught:
        manager.add_plugin(HalfWay(), "acme-half")
    record = plugins.PluginRecord("half", "acme-half", "1.0", "failed", caught.value)
    monkeypatch.setattr(manager, "records", [*manager.records, record])
    with pytest.raises(
        errors.UnknownNameError, match=r"layers\.HalfLayer belongs to acme-half 1\.0 .* which is failed"
    ):
        _ = layers.HalfLayer


def test_every_namespace_is_over_a_registry():
    import mocha_core

    for name in (
        "layers",
        "neurons",
        "initializers",
        "regularizers",
        "constraints",
        "transformers",
        "solvers",
        "coffee",
        "backends",
    ):
        assert getattr(mocha_core, name) is sys.modules[f"mocha_core.{name}"]
        assert dir(getattr(mocha_core, name)) == getattr(plugins.registries(), name).names()
    with pytest.raises(AttributeError, match=r"module 'mocha_core' has no attribute 'spoons'$"):
        _ = mocha_core.spoons
    with pytest.raises(AttributeError, match=r"has no attribute 'Adem'$"):
        _ = mocha_core.Adem


def test_a_class_of_a_namespace_is_not_looked_for_in_the_package():
    import mocha_core

    with pytest.raises(AttributeError, match=r"has no attribute 'SGD'. Did you mean solvers\.SGD\?"):
        _ = mocha_core.SGD

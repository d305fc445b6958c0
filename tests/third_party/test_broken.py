"""All plugins at once, those that are broken on purpose too: each is named, and all others work."""

import json
import re

import pytest
from third_parties import BROKEN, GOOD, HERE

CAUSES = {
    "acme-exit 1.0": "SystemExit: no licence found",
    "acme-half-way 1.0": "ZeroDivisionError: half way",
    "acme-import-error 1.0": "ModuleNotFoundError: No module named 'acme_missing'",
    "acme-old 0.9": "PluginError: acme-old 0.9 requires mocha-core<0.1, and mocha-core ",
    "acme-pooling 1.0": "layer 'PoolingLayer' is registered twice, by plugin 'mocha-layers-std' and by plugin 'acme-p",
    "acme-swish-again 1.0": "layer 'SwishLayer' is registered twice, by plugin 'acme-swish' and by plugin 'acme-swish-",
}
CONFLICTS = [
    "Several kernels of equal priority 0 serve op 'sigmoid' on backend 'cpu', from mocha-cpu, acme-rivals. "
    "Choose one with System(..., prefer={'sigmoid': 'mocha-cpu'}).",
    "Several kernels of equal priority 1 serve op 'exponential' on backend 'cpu', from acme-rivals, acme-rivals. "
    "`prefer` cannot choose within a plugin: disable it with MOCHA_DISABLED_PLUGINS=acme-rivals.",
]


def sections(text):
    """What `mocha plugins` says, by distribution and version."""
    found = {}
    for line in text.splitlines():
        if line.startswith(" "):
            found[title] += line + "\n"  # noqa: F821
        else:
            title, _, rest = line.partition(": ")
            found[title] = rest + "\n"
    return found


def test_each_is_named_with_distribution_version_and_cause(python):
    done = python("-m", "mocha_core.cli", "plugins", disabled="")
    assert done.returncode == 0, done.stderr
    found = sections(done.stdout)
    for title, cause in CAUSES.items():
        assert found[title].startswith("failed\n    entry point"), found[title]
        assert cause in found[title]
        assert len(found[title].splitlines()) == 2, "nothing of it is registered"
    assert [line for line in done.stdout.splitlines() if "Conflict" in line] == [f"Conflict: {c}" for c in CONFLICTS]
    assert re.match(
        r"ok\n    entry point 'acme-sleeper': took [1-9]\d\.\d s to import: register import strings\n    layers: Sleep",
        found["acme-sleeper 1.0"],
    )
    for name in GOOD:
        assert found[f"{name} 1.0"].startswith("ok\n    ")
    warnings = [line for line in done.stderr.splitlines() if "RuntimeWarning" in line]
    assert len(warnings) == len(CAUSES) + 1
    for title, cause in CAUSES.items():
        name = title.split()[0]
        (warning,) = (line for line in warnings if f"Plugin {title} (entry point '{name}') failed to load: " in line)
        assert cause in warning
        assert warning.endswith(" Everything else works without it.")


def test_programs_get_the_same(python):
    done = python("-m", "mocha_core.cli", "plugins", "--json")
    listed = json.loads(done.stdout)
    states = {plugin["distribution"]: plugin["status"] for plugin in listed["plugins"]}
    failed = {title.split()[0] for title in CAUSES}
    assert {name for name, state in states.items() if state == "failed"} == failed
    assert {name for name, state in states.items() if state == "disabled"} == {"acme-sleeper"}
    assert {*GOOD, "acme-rivals", "mocha-layers-std"} <= {name for name, state in states.items() if state == "ok"}
    assert listed["conflicts"] == CONFLICTS


def test_each_harms_no_other_where_warnings_are_errors(python):
    done = python("-W", "error", "-m", "mocha_core.cli", "plugins")
    assert done.returncode == 0, done.stderr
    found = sections(done.stdout)
    assert {title for title, rest in found.items() if rest.startswith("failed")} == {*CAUSES}
    assert all(found[f"{name} 1.0"].startswith("ok") for name in GOOD)
    for title, cause in CAUSES.items():
        assert re.search(rf"^Plugin {re.escape(title)} \(.*{re.escape(cause)}", done.stderr, re.MULTILINE)


BEFORE_DISCOVERY = """
import os, sys
import mocha_core as mocha
from mocha_core import backends, coffee, constraints, initializers, layers, neurons, regularizers, solvers
from mocha_core import MochaError, Net, Phase, SolverParameters, System, hookimpl, load_network, save_network

def imported():
    return sorted(name for name in sys.modules if name.startswith("acme_"))

assert imported() == [], imported()
os.environ["MOCHA_DISABLED_PLUGINS"] = "acme-sleeper"
layers.PoolingLayer
print(*imported())
"""


def test_importing_the_core_imports_none_of_them_and_finding_them_little(python):
    done = python("-W", "ignore", "-c", BEFORE_DISCOVERY, disabled="")
    assert done.returncode == 0, done.stderr
    working = [*GOOD, "acme-rivals", "acme-softplus"]
    packages = {name.replace("-", "_") for name in (*working, "acme-exit", "acme-half-way", "acme-import-error")}
    packages |= {"acme_pooling", "acme_swish_again"}
    plugins = {f"{package}._plugin" for package in packages - {"acme_exit", "acme_import_error"}}
    assert set(done.stdout.split()) == packages | plugins


@pytest.mark.parametrize("title", CAUSES)
def test_strict_mode_raises(python, title):
    name, version = title.split()
    disabled = ",".join({*BROKEN} - {name})
    done = python("-m", "mocha_core.cli", "plugins", disabled=disabled, strict=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"mocha: Plugin {name} {version} (entry point '{name}') failed to load: ")
    assert CAUSES[title] in done.stderr
    assert done.stderr.endswith("Unset MOCHA_STRICT_PLUGINS to go on without it.\n")


TRAINING = """
import sys, warnings
from pathlib import Path
import numpy as np
warnings.simplefilter("ignore", RuntimeWarning)
import mocha_core as mocha
from lenet import lenet, train
from mocha_core import coffee

digits, n = Path(sys.argv[1]), int(sys.argv[2])
with mocha.System("cpu", seed=1) as system:
    net = lenet(system, digits)
    objectives, parameters = train(net, n, breaks=[(coffee.Snapshot(sys.argv[3]), 10)])
    mocha.save_network(sys.argv[4], net)
print(np.isfinite(objectives[1:]).all(), objectives[1:6].mean() > 2 * objectives[-5:].mean())
"""


def test_lenet_trains_and_resumes(python, digits, tmp_path):
    def run(n, folder):
        done = python("-c", TRAINING, digits, n, tmp_path / folder, tmp_path / f"{folder}-{n}.hdf5")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    assert run(60, "whole") == "True True"
    run(30, "halves")
    assert (tmp_path / "halves" / "snapshot-000030.hdf5").exists()
    assert run(60, "halves").startswith("True ")
    assert (tmp_path / "whole-60.hdf5").read_bytes() == (tmp_path / "halves-60.hdf5").read_bytes()
    assert (tmp_path / "whole-60.hdf5").read_bytes() != (tmp_path / "halves-30.hdf5").read_bytes()


def test_all_that_work_pass_their_tests_beside_them(python):
    """Without the kit's long classes, which run alone."""
    root = HERE.parents[1]
    options = ["-q", "-W", "ignore::RuntimeWarning", "-p", "no:cacheprovider", "-c", root / "pyproject.toml"]
    ours = [HERE / f"test_{name}.py" for name in ("broken", "plugins", "template")]
    chosen = ["-k", "not TestAcme and not TestNPZ", *(f"--ignore={path}" for path in ours)]
    done = python("-m", "pytest", *options, "--rootdir", root, *chosen, HERE)
    assert done.returncode == 0, done.stdout
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) > 150


CONFLICT = """
import sys, warnings
warnings.simplefilter("ignore", RuntimeWarning)
import numpy as np
import mocha_core as mocha
from mocha_core import layers, neurons

neuron, backend, prefer = sys.argv[1:]
data = layers.MemoryDataLayer(name="data", data=[np.ones((4, 3))], batch_size=4, tops=["x"])
product = layers.InnerProductLayer(
    name="ip", output_dim=2, neuron=getattr(neurons, neuron)(), bottoms=["x"], tops=["y"]
)
op = neuron.lower()
with mocha.System(backend, prefer={op: prefer} if prefer else None) as system:
    net = mocha.Net("net", system, [data, product])
    try:
        net.forward()
        print(*{use.plugin for use in net.program().kernels() if use.op == op})
    except mocha.MochaError as error:
        print(f"{type(error).__name__}: {error}")
"""
BY_CHOICE = (
    "PluginError: Several kernels of equal priority 0 serve op 'sigmoid' on backend 'cpu', from mocha-cpu, acme-"
)
BY_DISABLING = (
    "PluginError: Several kernels of equal priority 1 serve op 'exponential' on backend 'cpu', from acme-rivals"
)


@pytest.mark.parametrize(
    ("neuron", "backend", "prefer", "outcome"),
    [
        ("Sigmoid", "cpu", "", BY_CHOICE),
        ("Sigmoid", "cpu", "mocha-cpu", "mocha-cpu"),
        ("Sigmoid", "cpu", "acme-rivals", "acme-rivals"),
        ("Exponential", "cpu", "", BY_DISABLING),
        ("Exponential", "cpu", "acme-rivals", BY_DISABLING),
        ("Exponential", "acme", "", "reference"),
        ("Sigmoid", "acme", "", "reference"),
        ("Tanh", "cpu", "", "mocha-cpu"),
    ],
)
def test_a_conflict_concerns_only_nets_with_that_op_on_that_backend(python, neuron, backend, prefer, outcome):
    done = python("-c", CONFLICT, neuron, backend, prefer)
    assert done.stdout.startswith(outcome), done.stderr
    assert ("MOCHA_DISABLED_PLUGINS=acme-rivals" in done.stdout) == (outcome == BY_DISABLING)


def test_the_way_out_of_a_conflict_within_a_plugin_leads_out(python):
    done = python("-c", CONFLICT, "Exponential", "cpu", "", disabled="acme-sleeper,acme-rivals")
    assert done.stdout.strip() == "mocha-cpu"


def test_what_a_broken_plugin_would_have_given_says_why_it_is_not_there(python):
    done = python("-W", "ignore", "-c", "import mocha_core; mocha_core.layers.FirstHalfLayer")
    assert "ZeroDivisionError: half way\n\nThe above exception was the direct cause" in done.stderr
    assert (
        "UnknownNameError: layers.FirstHalfLayer belongs to acme-half-way 1.0 (entry point 'acme-half-way'), which is "
        "failed. `mocha plugins` shows why." in done.stderr
    )

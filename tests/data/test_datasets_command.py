"""`mocha data`, from its arguments to the files."""

import argparse

import pytest

pytest.importorskip("mocha_core.plugin.registry", reason="the core has no registry yet")
from mocha_datasets import cifar10, fashion_mnist, mnist
from mocha_datasets.command import DataCommand, dataset_names, get_dataset

from mocha_core.errors import ConfigurationError, FileError, UnknownNameError


def mocha_data(*arguments):
    command = DataCommand()
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_registered():
    assert {"mnist", "fashion-mnist", "cifar10"} <= set(dataset_names())
    assert isinstance(get_dataset("mnist"), mnist.MNIST)
    assert isinstance(get_dataset("fashion-mnist"), fashion_mnist.FashionMNIST)
    assert isinstance(get_dataset("cifar10"), cifar10.CIFAR10)


def test_list(capsys):
    assert mocha_data() == 0
    output = capsys.readouterr().out
    for needed in ("mnist: 70,000 handwritten digits", "yann.lecun.com", "zalandoresearch", "cs.toronto.edu"):
        assert needed in output


def test_convert(tmp_path, capsys):
    assert mocha_data("mnist", "--to", tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "train.hdf5")
    assert (tmp_path / "test.txt").exists()
    with pytest.raises(FileError, match="already there"):
        mocha_data("mnist", "--to", tmp_path)
    assert mocha_data("mnist", "--to", tmp_path, "--from", mnist.EMBEDDED, "--force") == 0


def test_wrong_arguments(tmp_path):
    with pytest.raises(ConfigurationError, match="--to"):
        mocha_data("mnist")
    for options in (["--to", tmp_path], ["--from", tmp_path], ["--force"]):
        with pytest.raises(ConfigurationError, match="name the data set: cifar10, fashion-mnist, mnist"):
            mocha_data(*options)
    with pytest.raises(ConfigurationError, match="--to is empty"):
        mocha_data("mnist", "--to", "")
    with pytest.raises(ConfigurationError, match="--from is empty"):
        mocha_data("mnist", "--from", "", "--to", tmp_path)
    with pytest.raises(FileError, match="--from"):
        mocha_data("cifar10", "--to", tmp_path)
    with pytest.raises(UnknownNameError):
        mocha_data("minst", "--to", tmp_path)

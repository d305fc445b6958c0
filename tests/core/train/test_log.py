"""A run's messages are shown once, wherever the program's own logging does not show them."""

import io
import logging
import logging.config
import sys

import pytest
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.log import messages
from mocha_core.train.coffee_break import CoffeeBreak

LOGGER = logging.getLogger("mocha")
LINE = ":INFO:mocha:one of Mocha's"


class Says(CoffeeBreak):
    def enjoy(self, solver, net):
        LOGGER.debug("details")
        LOGGER.info("one of Mocha's")
        LOGGER.warning("a warning of Mocha's")


@pytest.fixture(autouse=True)
def untouched():
    """Loggers as in a fresh process."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    assert (LOGGER.propagate, LOGGER.disabled) == (True, False)
    LOGGER.handlers.clear()
    LOGGER.setLevel(logging.NOTSET)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def shown(monkeypatch):
    """Trains, and returns what was shown on standard output meanwhile."""

    def train():
        stream = io.StringIO()
        with monkeypatch.context() as patch, mocha.System(Plain(), seed=3) as system:
            patch.setattr(sys, "stdout", stream)
            root = logging.getLogger()
            patch.setattr(root, "handlers", [h for h in root.handlers if "_pytest" not in type(h).__module__])
            x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
            net = mocha.Net("net", system, [nets.data(), x, SquareLossLayer(bottoms=["x", "target"])])
            solver = SGD(parameters(max_iter=2))
            solver.add_coffee_break(Says(), every_n_iter=2)
            solver.solve(net)
        return stream.getvalue()

    return train


def handler(level=logging.NOTSET):
    made = logging.StreamHandler(io.StringIO())
    made.setLevel(level)
    return made


def test_on_the_standard_output_of_each_run(shown):
    for _ in range(2):
        assert shown().count(LINE) == 2
    assert LOGGER.handlers == []


def test_a_root_handler_that_does_not_show_them_does_not_silence_them(shown):
    """`logging.warning(...)` makes one; notebooks begin with one. Its own messages are shown there, and only there."""
    root = handler()
    logging.getLogger().addHandler(root)
    assert shown().splitlines()[0].endswith(LINE)
    assert shown().count("\n") == 2
    assert root.stream.getvalue() == "a warning of Mocha's\n" * 4


def test_what_the_root_handlers_show_is_not_shown_twice(shown):
    root = handler()
    logging.getLogger().addHandler(root)
    logging.getLogger().setLevel(logging.INFO)
    assert shown() == ""
    assert root.stream.getvalue() == "one of Mocha's\na warning of Mocha's\n" * 2


def test_a_root_handler_for_errors_leaves_the_rest(shown):
    root = handler(logging.ERROR)
    logging.getLogger().addHandler(root)
    assert shown().count("\n") == 4
    assert root.stream.getvalue() == ""


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR])
@pytest.mark.parametrize("with_root", [False, True])
def test_a_level_that_is_set_is_honoured(shown, level, with_root):
    root = handler()
    if with_root:
        logging.getLogger().addHandler(root)
    LOGGER.setLevel(level)
    for _ in range(2):
        text = shown()
        assert LOGGER.level == level
    lines = 2 * ((level <= logging.DEBUG) + (level <= logging.INFO) + (level <= logging.WARNING))
    assert text.count("\n") == (0 if with_root else lines)
    assert root.stream.getvalue().count("\n") == (2 * lines if with_root else 0)


def test_a_logger_that_is_set_up_is_left_alone(shown):
    own = handler()
    LOGGER.addHandler(own)
    assert shown() == ""
    assert own.stream.getvalue() == "a warning of Mocha's\n" * 2
    assert (LOGGER.handlers, LOGGER.level) == ([own], logging.NOTSET)


def test_a_handler_that_does_nothing_is_no_set_up(shown):
    LOGGER.addHandler(logging.NullHandler())
    logging.getLogger().addHandler(logging.NullHandler())
    assert shown().count("\n") == 4


def test_disabling_messages_is_honoured(shown):
    logging.disable(logging.INFO)
    try:
        assert shown().count("\n") == 2
    finally:
        logging.disable(logging.NOTSET)


def test_a_service_that_configures_its_own_loggers_does_not_disable_this_one(shown):
    """`dictConfig` disables every logger that it does not name, by default."""
    before = logging._handlerList[:]
    logging.config.dictConfig({"version": 1, "root": {"level": "WARNING"}, "loggers": {"service": {"level": "INFO"}}})
    logging._handlerList[:] = before
    assert LOGGER.disabled
    assert shown().count(LINE) == 2


def test_a_program_without_standard_output(monkeypatch):
    """Such as pythonw, and some services."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with mocha.System(Plain(), seed=3) as system:
        x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
        net = mocha.Net("net", system, [nets.data(), x, SquareLossLayer(bottoms=["x", "target"])])
        solver = SGD(parameters(max_iter=2))
        solver.add_coffee_break(Says(), every_n_iter=2)
        solver.solve(net)
    assert solver.state.iteration == 2


def test_a_level_that_a_break_sets_stays(shown, monkeypatch):
    monkeypatch.setattr(Says, "enjoy", lambda self, solver, net: LOGGER.setLevel(logging.ERROR))
    shown()
    assert LOGGER.level == logging.ERROR


class Broken(io.StringIO):
    """A full disk, or a pipe whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError


class Plainest:
    """All that `print` needs."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(("stream", "complaints"), [(Broken(), 1), (closed(), 0), (Plainest(), 0), (None, 0)])
def test_an_output_that_cannot_be_written_to_is_told_once(monkeypatch, capsys, stream, complaints):
    with messages, monkeypatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        patch.setattr(sys, "stdout", stream)
        for _ in range(3):
            LOGGER.info("one of Mocha's")
    assert capsys.readouterr().err.count("--- Logging error ---") == complaints
    if isinstance(stream, Plainest):
        assert stream.text.count(LINE) == 3

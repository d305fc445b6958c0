"""The numbers that the binding uses are those of cuDNN's headers."""

import re
import sys
from pathlib import Path

import pytest
from mocha_cuda.cudnn import constants
from mocha_cuda.cudnn.library import FUNCTIONS

HEADERS = [path for folder in sys.path for path in Path(folder).glob("nvidia/cudnn/include/cudnn_graph.h")]
pytestmark = pytest.mark.skipif(
    not HEADERS, reason="needs cuDNN's headers, which nvidia-cudnn-cu13 brings: tox -e cuda-plans"
)
#: Names of later versions than the oldest one that serves.
LATER = {"CUDNN_BEHAVIOR_NOTE_CUBLASLT_DEPENDENCY"}


@pytest.fixture(scope="module")
def header():
    return HEADERS[0].read_text()


def enumerators(header):
    """Their numbers; one without is the one before it plus one, as in C."""
    numbers = {}
    code = re.sub(r"/\*.*?\*/|CUDNN_DEPRECATED_ENUM", "", header, flags=re.DOTALL)
    for body in re.findall(r"typedef enum \{(.*?)\}", code, flags=re.DOTALL):
        number = -1
        for item in filter(None, map(str.strip, body.split(","))):
            name, _, value = map(str.strip, item.partition("="))
            number = int(numbers.get(value, value)) if value else number + 1
            numbers[name] = number
    return numbers


@pytest.mark.parametrize("names", constants.HEADER_NAMES, ids=lambda names: names.__name__)
def test_numbers(names, header):
    numbers = enumerators(header)
    expected = {constants.HEADER_NAMES[names].format(member.name): member.value for member in names}
    compared = {name for name in expected if name in numbers or name not in LATER}
    assert {name: numbers.get(name) for name in compared} == {name: expected[name] for name in compared}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_as_many_arguments(name, header):
    (arguments,) = re.findall(rf"CUDNNWINAPI\s+{name}\s*\(([^)]*)\)\s*;", header)
    assert len(arguments.split(",")) == len(FUNCTIONS[name])


def test_every_attribute_has_a_type_unless_it_has_several():
    untyped = set(constants.Attribute) - set(constants.TYPES)
    assert {attribute.name.rsplit("_", 1)[1] for attribute in untyped} == {"ALPHA", "BETA"}


def test_types_are_those_that_the_header_documents(header):
    documented = dict(re.findall(r"\* - (CUDNN_ATTR_\w+) \((CUDNN_TYPE_\w+), ", header))
    compared = 0
    for attribute, kind in constants.TYPES.items():
        name = f"CUDNN_ATTR_{attribute.name}"
        if name in documented:
            assert documented[name] == f"CUDNN_TYPE_{kind.name}", name
            compared += 1
    # Old headers document nothing.
    assert compared > 30 or not documented

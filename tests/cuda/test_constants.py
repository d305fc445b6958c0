"""What is said in Python and in CUDA is the same."""

import re
from math import prod

import pytest
from mocha_cuda import compiled, nvrtc, update
from mocha_cuda.kernels import clipping, inner_product, lrn

SAID = {
    ("mocha.cuh", "THREADS"): compiled.THREADS,
    ("mocha.cuh", "WARP"): compiled.WARP,
    ("kernels/clipping.cu", "TILE"): clipping.TILE,
    ("kernels/inner_product.cu", "NARROW"): inner_product.NARROW,
    ("kernels/inner_product.cu", "CHUNK"): inner_product.CHUNK,
    ("kernels/lrn.cu", "TILE"): lrn.TILE,
    ("update.cuh", "TILE"): update.TILE,
}


@pytest.mark.parametrize(("file", "name"), SAID)
def test_constants(file, name):
    text = (nvrtc.SOURCES / "mocha.cuh").read_text() + (nvrtc.SOURCES / file).read_text()
    defined = dict(re.findall(r"^#define (\w+) (.*)$", text, re.MULTILINE))
    factors = [defined.get(factor, factor) for factor in re.findall(r"\w+", defined[name])]
    assert prod(map(int, factors)) == SAID[file, name]

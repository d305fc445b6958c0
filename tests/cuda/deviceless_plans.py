"""Makes cuDNN's plans for an H200 that is not there. A program of its own, as some of what cuDNN does may end it.

Reads a problem as JSON, and prints what plans there are for it, for each direction and kind of arithmetic.
"""

import json
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import pytest
from mocha_cuda.cudnn.graph import operands
from mocha_cuda.cudnn.library import CuDNNError, library
from mocha_cuda.cudnn.plans import Target, Wants
from mocha_cuda.cudnn.problem import Direction, Problem
from stub_libcuda import load_stub

DEVICE = Path(__file__).parent / "h200_device.json"
#: What users ask for, as dtypes and demands.
ARITHMETIC = {
    "tf32": ("float32", Wants()),
    "tf32 deterministic": ("float32", Wants(deterministic=True)),
    "float32": ("float32", Wants(exact=True)),
    "float32 deterministic": ("float32", Wants(exact=True, deterministic=True)),
    "bf16": ("bfloat16", Wants()),
    "bf16 deterministic": ("bfloat16", Wants(deterministic=True)),
    "float64": ("float64", Wants()),
    "float64 deterministic": ("float64", Wants(deterministic=True)),
}
#: Plans for which it is tried whether they are found again.
TRIED = 12


class NoDevice:
    """In place of a handle, which there is none without a device."""

    pointer = None

    def __init__(self, library):
        self.library = library


@dataclass
class Found:
    """The plans for one problem and kind of arithmetic, and how many of those tried can be found again and varied."""

    name: str
    arithmetic: str
    plans: int
    engines: list[int]
    workspace: int
    tried: int
    again: int
    adding: int
    rectified: int


def forms(problem):
    forward = replace(problem, direction=Direction.FORWARD)
    yield "forward", forward
    yield "forward + bias", replace(forward, bias=True)
    yield "forward + bias + relu", replace(forward, bias=True, relu=True)
    yield "backward data", replace(problem, direction=Direction.BACKWARD_DATA)
    yield "backward filter", replace(problem, direction=Direction.BACKWARD_FILTER)


def found(target, name, arithmetic, problem, wants):
    graph = target.graph(problem)
    plans = list(target.candidates(graph, wants))
    tried = list(islice(plans, TRIED))
    again = [target.chosen(graph, plan.choice, wants) for plan in tried]
    varied = {}
    for what, variant in (("adding", {"add": True}), ("rectified", {"relu": True})):
        other = target.graph(replace(problem, **variant)) if what == "adding" or problem.bias else None
        varied[what] = sum(other is not None and target.chosen(other, p.choice, wants) is not None for p in tried)
    for plan in tried:
        addresses = {operand: 256 * operand for operand in operands(problem)}
        run = plan.bind(NoDevice(target.library), addresses, 4096 if plan.workspace_bytes else None)
        with pytest.raises(CuDNNError, match=r"cudnnBackendExecute\(.+\) returned CUDNN_STATUS_"):
            run()
    return Found(
        name,
        arithmetic,
        len(plans),
        sorted({plan.choice.engine for plan in plans}),
        plans[0].workspace_bytes if plans else 0,
        len(tried),
        sum(p is not None and p.workspace_bytes == q.workspace_bytes for p, q in zip(again, tried)),
        **varied,
    )


def main():
    problem = Problem(**{key: tuple(v) if isinstance(v, list) else v for key, v in json.loads(sys.argv[1]).items()})
    with tempfile.TemporaryDirectory() as folder:
        load_stub(Path(folder))
    target = Target(library(), description=DEVICE.read_text())
    results = [
        asdict(found(target, name, arithmetic, replace(form, dtype=dtype), wants))
        for arithmetic, (dtype, wants) in ARITHMETIC.items()
        for name, form in forms(problem)
    ]
    print(json.dumps({"version": library().version, "found": results}))


if __name__ == "__main__":
    main()

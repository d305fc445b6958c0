"""Writes the CUDA source of a `VectorProgram`."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from mocha_core.api import Kind, Node, Output, Untraceable, VectorProgram

TYPES = {"bool": "bool", "int32": "int", "int64": "long long", "float32": "float", "float64": "double"}
INFIX = {
    **{"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "less_equal": "<=", "equal": "=="},
    **{"not_equal": "!=", "logical_and": "&&", "logical_or": "||", "logical_xor": "!="},
}
#: Functions of csrc/traced.cuh, and of CUDA.
CALLS = {"maximum": "larger", "minimum": "smaller", "sign": "sign_of", "abs": "fabs", "round": "rint"}
#: The neutral number, and the function of csrc/traced.cuh.
REDUCTIONS = {"sum": ("0", "added"), "max": ("-LARGEST", "larger"), "min": ("LARGEST", "smaller")}


def source(program: VectorProgram) -> str:
    """A kernel `traced` of n elements, or of n rows, a block each.

    It takes the inputs that the program has, the outputs that it has, each with whether it is added, and n.

    Raises:
        Untraceable: it changes a number in another way than by a check of the elements, or sums rows.
    """
    nodes = program.nodes
    if any(node.op == "sum_rows" for node in nodes):
        raise Untraceable("sums of rows are not generated for CUDA")
    inputs = {int(node.number): node for node in nodes if node.op == "input"}
    types = {k: TYPES[node.dtype] for k, node in inputs.items()}
    parameters = [f"const {kind} *p{k}" for k, kind in sorted(types.items())]
    wanted = [(k, output) for k, output in enumerate(program.outputs) if output is not None]
    for _, output in wanted:
        node = nodes[output.node]
        decided = node.op == "input" or (node.part and node.dtype == "int32")
        if output.kind is Kind.NUMBER and (program.columns or not decided):
            raise Untraceable("it gives a number that no check of the elements decides")
    for k, output in wanted:
        parameters.append(f"{TYPES[nodes[output.node].dtype]} *q{k}, [[maybe_unused]] int add{k}")
    phases = program.phases
    last = max(phases, default=0)

    def lines(kinds: Iterable[Kind], phase: int, parts: bool) -> list[str]:
        """The operations of these kinds that a phase needs, and computes anew in each loop."""
        found = []
        for i, node in enumerate(nodes):
            there = node.kind in kinds and phases[i] <= phase and node.part == parts
            if there and node.op not in REDUCTIONS:
                found.append(_assigned(i, node))
        return found

    def stores(kinds: Iterable[Kind]) -> list[str]:
        return [_store(k, output) for k, output in wanted if output.kind in kinds]

    elements = (Kind.COLUMN, Kind.FULL)
    body = lines([Kind.NUMBER], 0, False)
    if not program.columns:
        inner = [*lines(elements, 0, False), *lines([Kind.NUMBER, *elements], 0, True), *stores(elements)]
        changed = stores([Kind.NUMBER])
        body += ["FOR_EACH(i, n) {", *inner, *changed, "}"]
    else:
        row: list[str] = []
        for phase in range(last + 1):
            row += [
                _assigned(i, node)
                for i, node in enumerate(nodes)
                if node.kind is Kind.ROW and phases[i] == phase and node.op not in REDUCTIONS
            ]
            ended = program.reductions(phase)
            row += [f"REAL t{i} = {REDUCTIONS[nodes[i].op][0]};" for i in ended]
            inner = lines(elements, phase, False)
            inner += [f"t{i} = {REDUCTIONS[nodes[i].op][1]}(t{i}, (REAL)t{nodes[i].args[0]});" for i in ended]
            if phase == last:
                inner += stores(elements)
            loop = f"for (int j = threadIdx.x; j < {program.columns}; j += THREADS) {{"
            row += [loop, f"const long long i = row * {program.columns} + j;", *inner, "}"]
            for i in ended:
                combine = f"[](REAL a, REAL b) {{ return {REDUCTIONS[nodes[i].op][1]}(a, b); }}"
                row.append(f"t{i} = block_reduced(t{i}, {combine});")
        row += ["if (threadIdx.x == 0) {", *stores([Kind.ROW]), "}"]
        body += ["for (long long row = blockIdx.x; row < n; row += gridDim.x) {", *row, "}"]
    listed = ", ".join([*parameters, "int n"])
    return "\n".join(['#include "traced.cuh"', f"KERNEL(traced)({listed}) {{", *body, "}", ""])


def _assigned(i: int, node: Node) -> str:
    return f"[[maybe_unused]] const {TYPES[node.dtype]} t{i} = {_expression(node)};"


def _expression(node: Node) -> str:
    kind = TYPES[node.dtype]
    args = [f"t{a}" for a in node.args]
    match node.op:
        case "constant":
            return _literal(node.number, kind)
        case "input":
            at = {Kind.NUMBER: "0", Kind.ROW: "row", Kind.COLUMN: "j", Kind.FULL: "i"}[node.kind]
            return f"p{int(node.number)}[{at}]"
        case "astype":
            return f"({kind}){args[0]}" if kind != "bool" else f"{args[0]} != 0"
        case "where":
            return "{} ? {} : {}".format(*args)
        case "all_finite":
            return " && ".join(f"isfinite({arg})" for arg in args)
        case "negative":
            return f"-{args[0]}"
        case "square":
            return f"{args[0]} * {args[0]}"
        case "logical_not":
            return f"!{args[0]}"
    if node.op in INFIX:
        return f"{args[0]} {INFIX[node.op]} {args[1]}"
    return f"{CALLS.get(node.op, node.op)}({', '.join(args)})"


def _literal(number: float, kind: str) -> str:
    if kind == "bool":
        return "true" if number else "false"
    if kind in ("float", "double"):
        if number != number:
            return f"({kind})NOT_A_NUMBER"
        if number in (inf, -inf):
            return f"({kind}){'-' if number < 0 else ''}LARGEST"
        return f"({kind}){number!r}"
    return f"({kind}){int(number)}"


def _store(k: int, output: Output) -> str:
    if output.kind is Kind.NUMBER:
        return f"put(q{k}, t{output.node});"
    at = "row" if output.kind is Kind.ROW else "i"
    return f"give(q{k} + {at}, t{output.node}, add{k});"

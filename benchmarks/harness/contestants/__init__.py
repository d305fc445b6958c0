"""Who takes part. A module for each framework, imported by the worker only; `CONTESTANTS` knows what it needs.

A module has `make(variant, workload, threads)`. What it returns does the workload: `run(n)` does n iterations;
`check(n)` returns the objectives of n first iterations of training, or the scores of the first images of inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Protocol

from harness.workloads import Workload


class Contestant(Protocol):
    def run(self, n: int) -> None: ...
    def check(self, n: int) -> list[float]: ...


@dataclass(frozen=True)
class Entry:
    """A contestant's name, title, module and variant; the package that it needs, and its worker's environment."""

    name: str
    title: str
    module: str
    variant: str
    package: str
    environment: Mapping[str, str] = field(default_factory=dict)
    peer: bool = True

    def enters(self, workload: Workload) -> bool:
        """Whether it does this workload, and does it otherwise than a contestant before it."""
        if self.module == "plain_numpy":
            return workload.training and workload.net.name == "LeNet"
        if self in GPU:
            return workload.training
        if workload.training and (self.module == "with_onnx" or "freeze" in self.variant):
            return False
        return "channels_last" not in self.variant or len(workload.net.shape) == 3


#: What holds whom to an instruction set. Who is not named here cannot be held to one.
HOLDS = {
    "avx2": {
        "MOCHA_NATIVE_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
    "baseline": {"MOCHA_NATIVE_ISA": "baseline"},
    "avx512": {"MOCHA_NATIVE_ISA": "avx512"},
}

ALL = [
    Entry("native", "Mocha native", "with_mocha", "native", "mocha_native", peer=False),
    Entry("cpu", "Mocha cpu (NumPy)", "with_mocha", "cpu", "mocha_cpu", peer=False),
    Entry("numpy", "plain NumPy program", "plain_numpy", "", "numpy"),
    Entry("torch", "PyTorch eager", "with_torch", "eager", "torch"),
    Entry("torch-channels-last", "PyTorch channels_last", "with_torch", "channels_last", "torch"),
    Entry("torch-compile", "torch.compile", "with_torch", "compile", "torch"),
    Entry(
        "torch-compile-channels-last", "torch.compile, channels_last", "with_torch", "compile channels_last", "torch"
    ),
    Entry("jax", "JAX jit", "with_jax", "", "jax"),
]
#: Those that only predict, and take part where Mocha meets all peers.
FROZEN = [
    Entry("torch-freeze-channels-last", "TorchScript, channels_last", "with_torch", "freeze channels_last", "torch"),
    Entry("torch-freeze-mkldnn", "TorchScript, optimize_for_inference", "with_torch", "freeze mkldnn", "torch"),
    Entry("onnxruntime", "ONNX Runtime", "with_onnx", "onnxruntime", "onnxruntime"),
    Entry("openvino", "OpenVINO", "with_onnx", "openvino", "openvino"),
]


def held(entry: Entry, isa: str) -> Entry:
    """The contestant with no better instructions than those, under a name like "native@avx2"."""
    title = f"{entry.title}, {isa.upper() if isa != 'baseline' else isa}"
    return replace(entry, name=f"{entry.name}@{isa}", title=title, environment=HOLDS[isa])


#: Those that can be held to AVX2.
AVX2_ALL = [held(entry, "avx2") for entry in ALL if entry.name == "native" or entry.package == "torch"]
HELD = [
    *AVX2_ALL,
    *(held(entry, "avx2") for entry in [*ALL, *FROZEN] if entry.package == "jax" or "freeze" in entry.variant),
    *(held(ALL[0], isa) for isa in HOLDS if isa != "avx2"),
]
#: Those on a GPU; the last word of a variant is the precision. Inductor compiles with several processes there.
INDUCTOR = {"TORCHINDUCTOR_COMPILE_THREADS": "8"}
GPU = [
    made
    for precision, said in (("tf32", "TF32"), ("float32", "float32"))
    for made in (
        Entry(f"cuda-{precision}", f"Mocha, {said}", "with_mocha", f"cuda {precision}", "mocha_cuda", peer=False),
        Entry(
            f"torch-graph-{precision}", f"PyTorch CUDA graph, {said}", "with_torch_cuda", f"graph {precision}", "torch"
        ),
        Entry(f"torch-eager-{precision}", f"PyTorch eager, {said}", "with_torch_cuda", f"eager {precision}", "torch"),
        Entry(
            f"torch-compile-{precision}",
            f"torch.compile max-autotune, {said}",
            "with_torch_cuda",
            f"compile {precision}",
            "torch",
            INDUCTOR,
        ),
    )
]
CONTESTANTS = {entry.name: entry for entry in [*ALL, *FROZEN, *HELD, *GPU]}


def installed(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if find_spec(entry.package)]


def chosen(names: str, quick: bool = False) -> list[Entry]:
    """From "native,torch"; "" means all that are installed, but none that compiles for long where it must be quick."""
    if not names:
        return [entry for entry in installed(ALL) if not (quick and "compile" in entry.variant)]
    unknown = set(names.split(",")) - set(CONTESTANTS)
    if unknown:
        raise SystemExit(f"No contestant {', '.join(sorted(unknown))}. Choose of {', '.join(CONTESTANTS)}.")
    return [CONTESTANTS[name] for name in names.split(",")]

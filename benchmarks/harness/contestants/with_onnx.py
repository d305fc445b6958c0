"""The nets in ONNX Runtime and in OpenVINO: inference, from a NumPy array to a NumPy array."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.contestants.onnx_model import model
from harness.workloads import MINIBATCHES, Workload

Predict = Callable[[np.ndarray], np.ndarray]


def onnxruntime(content: bytes, threads: int) -> Predict:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"data": images})[0]


def openvino(content: bytes, threads: int) -> Predict:
    import openvino

    core = openvino.Core()
    # Without the last one it computes in bfloat16 where the processor can.
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(content), "CPU", settings).create_infer_request()
    return lambda images: request.infer({0: images}, share_inputs=True, share_outputs=True)[0]


class Inference:
    def __init__(self, predict: Predict, workload: Workload) -> None:
        self.predict = predict
        images, _ = workload.net.minibatches(workload.batch, MINIBATCHES)
        self.minibatches = np.split(images, MINIBATCHES)

    def run(self, n: int) -> None:
        for i in range(n):
            self.predict(self.minibatches[i % MINIBATCHES])

    def check(self, n: int) -> list[float]:
        return self.predict(self.minibatches[0])[:n].ravel().tolist()


def make(variant: str, workload: Workload, threads: int) -> Inference:
    """`variant` is the name of the runtime."""
    content = model(workload.net, workload.batch).SerializeToString()
    return Inference({"onnxruntime": onnxruntime, "openvino": openvino}[variant](content, threads), workload)

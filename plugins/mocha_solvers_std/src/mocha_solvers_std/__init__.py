"""Mocha's standard solvers, policies and coffee breaks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mocha_solvers_std.lr_policy import LRPolicy as LRPolicy
    from mocha_solvers_std.mom_policy import MomPolicy as MomPolicy
    from mocha_solvers_std.progress_bar import ProgressBar as ProgressBar
    from mocha_solvers_std.sgd import SGD as SGD
    from mocha_solvers_std.snapshot import Snapshot as Snapshot
    from mocha_solvers_std.training_summary import TrainingSummary as TrainingSummary
    from mocha_solvers_std.validation_performance import ValidationPerformance as ValidationPerformance

SOLVERS = {"LRPolicy": "lr_policy", "MomPolicy": "mom_policy", "SGD": "sgd"}
COFFEE = {
    "ProgressBar": "progress_bar",
    "Snapshot": "snapshot",
    "TrainingSummary": "training_summary",
    "ValidationPerformance": "validation_performance",
}
_MODULES = SOLVERS | COFFEE

__all__ = [*SOLVERS, *COFFEE]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mocha_solvers_std' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mocha_solvers_std.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

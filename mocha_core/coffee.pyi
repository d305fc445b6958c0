"""Coffee of the first-party plugins; written by tools/make_stubs.py."""

from mocha_solvers_std.progress_bar import ProgressBar as ProgressBar
from mocha_solvers_std.snapshot import Snapshot as Snapshot
from mocha_solvers_std.training_summary import TrainingSummary as TrainingSummary
from mocha_solvers_std.validation_performance import ValidationPerformance as ValidationPerformance

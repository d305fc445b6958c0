"""Solvers of the first-party plugins; written by tools/make_stubs.py."""

from mocha_solvers_std.lr_policy import LRPolicy as LRPolicy
from mocha_solvers_std.mom_policy import MomPolicy as MomPolicy
from mocha_solvers_std.sgd import SGD as SGD

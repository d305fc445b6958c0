"""Neurons of the first-party plugins; written by tools/make_stubs.py."""

from mocha_layers_std.neurons.exponential import Exponential as Exponential
from mocha_layers_std.neurons.identity import Identity as Identity
from mocha_layers_std.neurons.lrelu import LReLU as LReLU
from mocha_layers_std.neurons.relu import ReLU as ReLU
from mocha_layers_std.neurons.sigmoid import Sigmoid as Sigmoid
from mocha_layers_std.neurons.tanh import Tanh as Tanh

"""Layers of the first-party plugins; written by tools/make_stubs.py."""

from mocha_hdf5.data_layer import HDF5DataLayer as HDF5DataLayer
from mocha_layers_std.accuracy import AccuracyLayer as AccuracyLayer
from mocha_layers_std.channel_pooling import ChannelPoolingLayer as ChannelPoolingLayer
from mocha_layers_std.convolution import ConvolutionLayer as ConvolutionLayer
from mocha_layers_std.dropout import DropoutLayer as DropoutLayer
from mocha_layers_std.element_wise import ElementWise as ElementWise
from mocha_layers_std.element_wise import ElementWiseLayer as ElementWiseLayer
from mocha_layers_std.inner_product import InnerProductLayer as InnerProductLayer
from mocha_layers_std.lrn import LRNLayer as LRNLayer
from mocha_layers_std.lrn import LRNMode as LRNMode
from mocha_layers_std.memory_data import MemoryDataLayer as MemoryDataLayer
from mocha_layers_std.multinomial_logistic_loss import MultinomialLogisticLossLayer as MultinomialLogisticLossLayer
from mocha_layers_std.pooling import Pooling as Pooling
from mocha_layers_std.pooling import PoolingLayer as PoolingLayer
from mocha_layers_std.power import PowerLayer as PowerLayer
from mocha_layers_std.softmax import SoftmaxLayer as SoftmaxLayer
from mocha_layers_std.softmax_loss import SoftmaxLossLayer as SoftmaxLossLayer
from mocha_layers_std.split import SplitLayer as SplitLayer
from mocha_layers_std.square_loss import SquareLossLayer as SquareLossLayer

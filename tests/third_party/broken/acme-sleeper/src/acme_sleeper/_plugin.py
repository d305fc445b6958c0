import time

from mocha_core import hookimpl


@hookimpl
def mocha_register_layers(layers):
    layers.add("SleeperLayer", "acme_sleeper.nowhere:SleeperLayer")


time.sleep(10)

"""The instruction sets that this processor has, the best one first."""

from mocha_native._native import ffi, lib
from mocha_native.isa import text

HERE = [name for name in text(lib.mocha_isa_names).split() if lib.mocha_find_isa(name.encode()) != ffi.NULL]

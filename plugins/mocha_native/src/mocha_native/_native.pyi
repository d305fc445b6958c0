"""What cffi made of mocha/abi.h and csrc/api.h."""

from typing import Any

ffi: Any
lib: Any

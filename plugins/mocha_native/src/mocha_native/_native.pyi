"""What cffi made of csrc/api.h."""

from typing import Any

ffi: Any
lib: Any

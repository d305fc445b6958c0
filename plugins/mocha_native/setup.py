"""Builds the extension: compiles the objects that `objects.py` lists, and links them with cffi's code.

Environment:
    CC, CFLAGS: the compiler, and flags of yours, as for any extension.
    MOCHA_NATIVE_WERROR=1: warnings are errors. The project's tests build with it. Users build without it, because their
        compilers may have newer warnings.
    MOCHA_NATIVE_OPENMP=0: without OpenMP, for one thread.
    MOCHA_NATIVE_OBJECTS: a folder where objects are kept for later builds from any copy of the sources.
    MOCHA_NATIVE_SANITIZE=1: with the address and undefined-behaviour sanitizers of the compiler.
"""

import os
import platform
import shlex
import sys
import sysconfig
import tempfile
from pathlib import Path
from subprocess import CalledProcessError

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, ExecError, LinkError

sys.path.insert(0, str(Path(__file__).parent))  # pip builds without this folder in sys.path

from objects import build, objects

HERE = Path(__file__).parent

if sys.platform != "win32":
    import fcntl

    # Installations into several environments build in this folder: they take turns, until this process ends.
    (HERE / "build").mkdir(exist_ok=True)
    turn = (HERE / "build" / "lock").open("w")
    fcntl.flock(turn, fcntl.LOCK_EX)

SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g", "-O1"]
WAYS_OUT = "Without mocha-native, mocha-cpu computes the same on NumPy, only slower (pip install mocha-core mocha-cpu)."
NO_COMPILER = (
    "mocha-native is compiled when it is installed, and '{compiler}' compiles no C here. Install gcc or clang (Debian, "
    "Ubuntu: apt install gcc python3-dev; Fedora: dnf install gcc python3-devel; macOS: xcode-select --install), or "
    "name one that is there: CC=clang pip install ... " + WAYS_OUT
)
NO_HEADERS = (
    "mocha-native is compiled when it is installed, and '{compiler}' finds no Python.h of Python {version}. Install "
    "Python's headers (Debian, Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel). " + WAYS_OUT
)


class BuildNative(build_ext):
    """Compiles each object with its own flags before it links the extension."""

    def finalize_options(self):
        super().finalize_options()
        # An extension from an earlier build with other flags looks up to date; build it again.
        self.force = True

    def build_extension(self, ext):
        self.check_compiler()
        more = ["-Werror"] if os.environ.get("MOCHA_NATIVE_WERROR") == "1" else []
        if os.environ.get("MOCHA_NATIVE_SANITIZE") == "1":
            more += SANITIZE
            ext.extra_link_args += SANITIZE
        openmp = ["-fopenmp"] if os.environ.get("MOCHA_NATIVE_OPENMP") != "0" and self.has_openmp() else []
        ext.extra_link_args += openmp
        cache = Path(os.environ.get("MOCHA_NATIVE_OBJECTS", "build/objects"))
        try:
            ext.extra_objects = build(objects(platform.machine(), openmp, more), self.command(), cache)
        except CalledProcessError as error:
            raise CompileError(f"The compiler has said above what is wrong: {shlex.join(error.cmd)}") from None
        super().build_extension(ext)

    def command(self):
        """The compiler's command, without the flags of Python's own build, which are not for kernels."""
        if sys.platform == "darwin":  # these flags name the processors to build for
            return self.compiler.compiler_so
        environment = [os.environ.get("CC") or sysconfig.get_config_var("CC"), os.environ.get("CFLAGS", "")]
        return [*shlex.split(" ".join(environment)), "-fPIC"]

    def check_compiler(self):
        """Say what is missing before the compiler fails.

        Raises:
            CompileError: there is no compiler, or no header of Python's.
        """
        name = self.compiler.compiler_so[0] if hasattr(self.compiler, "compiler_so") else self.compiler.compiler_type
        names = {"compiler": name, "version": platform.python_version()}
        if not hasattr(self.compiler, "compiler_so") or not self.compiles("int main(void) { return 0; }\n"):
            raise CompileError(NO_COMPILER.format_map(names))
        if not self.compiles("#include <Python.h>\nint main(void) { return 0; }\n"):
            raise CompileError(NO_HEADERS.format_map(names))

    def has_openmp(self):
        """Whether a program with OpenMP compiles and links."""
        program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
        return self.compiles(program, ["-fopenmp"], link=True)

    def compiles(self, program, flags=(), link=False):
        """Whether a program compiles and links."""
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder) / "probe.c"
            probe.write_text(program)
            include = [f"-I{path}" for path in self.include_dirs]
            try:
                made = self.compiler.compile([str(probe)], output_dir=folder, extra_postargs=[*include, *flags])
                if link:
                    self.compiler.link_executable(made, "probe", output_dir=folder, extra_postargs=list(flags))
            except (CompileError, LinkError, ExecError):
                return False
        return True


setup(
    cffi_modules=["build_native.py:ffi"],
    cmdclass={"build_ext": BuildNative},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

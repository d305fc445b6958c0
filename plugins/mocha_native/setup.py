"""Builds the extension: one object for each instruction set, the executor, and what cffi writes.

Environment: MOCHA_NATIVE_OPENMP=0 builds without OpenMP, for one thread; MOCHA_NATIVE_SANITIZE=1 with the address and
undefined-behaviour sanitizers of the compiler.
"""

import hashlib
import os
import platform
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

SOURCES = Path("csrc")
FAMILIES = sorted(path.stem for path in (SOURCES / "kernels").glob("*.h"))
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
# No -ffast-math: it reassociates sums, and then they depend on the compiler.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]
X86 = platform.machine().lower() in ("x86_64", "amd64")
#: Width of a vector in bytes, and what allows the compiler to use it. The plain vectors of 16 bytes are SSE2 or NEON.
ISAS = {"baseline": (16, [])}
if X86:
    ISAS["avx2"] = (32, ["-mavx2", "-mfma"])
    wide = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"]
    ISAS["avx512"] = (64, ["-mavx2", "-mfma", *wide])


class BuildNative(build_ext):
    """Compiles each source with flags of its own before the extension is linked."""

    def finalize_options(self):
        super().finalize_options()
        # What an earlier build with other flags left behind is no newer than its sources, and yet another thing.
        self.force = True

    def build_extension(self, ext):
        common = [*FLAGS, *WARNINGS, f"-I{SOURCES}"]
        if os.environ.get("MOCHA_NATIVE_SANITIZE") == "1":
            common += SANITIZE
            ext.extra_link_args += SANITIZE
        openmp = ["-fopenmp"] if os.environ.get("MOCHA_NATIVE_OPENMP") != "0" and self.has_openmp() else []
        ext.extra_link_args += openmp
        families = " ".join(f"X(isa,{family})" for family in FAMILIES)
        jobs = [("executor.c", "", [*openmp, *(["-DMOCHA_X86"] if X86 else [])])]
        jobs += [("isa.c", "", [f"-DFAMILIES(X,isa)={families}", *(["-DMOCHA_X86"] if X86 else [])])]
        for isa, (width, flags) in ISAS.items():
            for family in FAMILIES:
                names = [
                    f"-DFAMILY={family}",
                    f'-DSOURCE="kernels/{family}.h"',
                    f"-DISA={isa}",
                    f"-DLANE_BYTES={width}",
                ]
                jobs.append(("family.c", f"{isa}/{family}", [*flags, *names]))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ext.extra_objects = list(pool.map(lambda job: self.compile(*job[:2], [*common, *job[2]]), jobs))
        super().build_extension(ext)

    def compile(self, source, variant, flags):
        """The object, which an earlier build may have left behind, made of the same sources with the same flags."""
        folder = Path(self.build_temp) / variant
        included = [SOURCES / source, *SOURCES.glob("*.h"), SOURCES / "kernels" / f"{Path(variant).name}.h"]
        texts = [path.read_bytes() for path in sorted(included) if path.exists()]
        digest = hashlib.sha256(b"\0".join([*texts, repr((self.compiler.compiler_so, flags)).encode()])).hexdigest()
        stamp, made = folder / f"{source}.sha256", folder / SOURCES / Path(source).with_suffix(".o")
        if not (made.exists() and stamp.exists() and stamp.read_text() == digest):
            stamp.unlink(missing_ok=True)
            self.compiler.compile([str(SOURCES / source)], output_dir=str(folder), extra_postargs=flags)
            stamp.write_text(digest)
        return str(made)

    def has_openmp(self):
        """Whether a program that uses it can be compiled and linked."""
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder) / "probe.c"
            probe.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
            try:
                objects = self.compiler.compile([str(probe)], output_dir=folder, extra_postargs=["-fopenmp"])
                self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=["-fopenmp"])
            except (CompileError, LinkError):
                return False
        return True


setup(
    cffi_modules=["build_native.py:ffi"],
    cmdclass={"build_ext": BuildNative},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

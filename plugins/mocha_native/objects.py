"""The object files of the extension: each has a source and its own flags. The tests use this list, too."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent
SOURCES = ROOT / "csrc"
#: The headers that mocha-native installs.
INCLUDE = "src/mocha_native/include"
FAMILIES = sorted(path.stem for path in (SOURCES / "kernels").glob("*.h"))
WARNINGS = ["-Wall", "-Wextra", "-Wconversion"]
# No -ffast-math: it reassociates sums, and results would depend on the compiler. Python's own flags may contain -g.
FLAGS = ["-std=c11", "-O3", "-g0", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
#: The width of a vector in bytes, and the flags that allow it. Without flags, vectors of 16 bytes are SSE2 or NEON.
PORTABLE = {"baseline": (16, [])}
WIDE = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"]
X86 = {**PORTABLE, "avx2": (32, ["-mavx2", "-mfma"]), "avx512": (64, ["-mavx2", "-mfma", *WIDE])}


class Object(NamedTuple):
    """A source in `csrc`, the name of this variant of it ("" if there is only one), and its flags."""

    source: str
    variant: str
    flags: list[str]


def is_x86(machine: str) -> bool:
    """Whether `platform.machine()` names such a processor."""
    return machine.lower() in ("x86_64", "amd64")


def objects(machine: str, openmp: Sequence[str] = (), more: Sequence[str] = ()) -> list[Object]:
    """All objects for a processor: the executor and its threads, the choice of an instruction set, and each pair of one
    and a family.

    Args:
        machine: as `platform.machine()` names it.
        openmp: the compiler's flag for OpenMP.
        more: more flags for all objects.
    """
    common = [*FLAGS, *WARNINGS, "-Icsrc", f"-I{INCLUDE}", *(["-DMOCHA_X86"] if is_x86(machine) else []), *more]
    families = " ".join(f"X(isa,{family})" for family in FAMILIES)
    made = [
        Object("executor.c", "", common),
        Object("pace.c", "", common),
        Object("pool.c", "", [*common, *openmp]),
        Object("isa.c", "", [*common, f"-DFAMILIES(X,isa)={families}"]),
    ]
    for isa, (width, flags) in (X86 if is_x86(machine) else PORTABLE).items():
        for family in FAMILIES:
            names = [f"-DFAMILY={family}", f'-DSOURCE="kernels/{family}.h"', f"-DISA={isa}", f"-DLANE_BYTES={width}"]
            made.append(Object("family.c", f"{isa}/{family}", [*common, *flags, *names]))
    return made


def build(all_objects: Sequence[Object], command: Sequence[str], cache: Path) -> list[str]:
    """The objects' files, each named by a digest of its sources, flags and compiler: what an earlier build made of the
    same is found by it.

    Args:
        all_objects: what to compile.
        command: the compiler's, with its first flags.
        cache: a folder for this and other builds, also of other copies of the sources.

    Raises:
        subprocess.CalledProcessError: an object does not compile; the compiler has printed why.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda one: _build(one, command, cache), all_objects))


def included(paths: set[Path]) -> list[Path]:
    """These files, those of this distribution that they include, and so on, in order."""
    found: set[Path] = set()
    while paths:
        path = paths.pop()
        if path in found or not path.exists():
            continue
        found.add(path)
        for name in re.findall(r'^#include ["<](.+)[">]', path.read_text(encoding="utf-8"), re.MULTILINE):
            paths |= {folder / name for folder in (path.parent, SOURCES, ROOT / INCLUDE)}
    return sorted(found)


def _build(one: Object, command: Sequence[str], cache: Path) -> str:
    family = SOURCES / "kernels" / f"{Path(one.variant).name}.h"
    contents = [path.read_bytes() for path in included({SOURCES / one.source, family})]
    digest = hashlib.sha256(b"\0".join([repr((list(command), one.flags)).encode(), *contents])).hexdigest()
    # By its name alone: another copy of the sources, which shares the folder, never replaces it before it is linked.
    target = cache / f"{one.variant or Path(one.source).stem}-{digest[:16]}.o"
    if not target.exists():
        unfinished = target.with_suffix(f".{os.getpid()}.o")
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = ["-c", f"csrc/{one.source}", "-o", str(unfinished.absolute()), *one.flags]
        subprocess.run([*command, *flags], check=True, cwd=ROOT)
        unfinished.replace(target)
    return str(target)

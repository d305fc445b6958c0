"""NVIDIA's own cuBLASLt and its header, without a device. Both come with the wheel `nvidia-cublas`."""

import ctypes
import re
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest
from fake_cublaslt import SOURCE, build
from mocha_cuda.cublaslt import constants
from mocha_cuda.cublaslt.constants import ComputeType, DataType, LayoutAttribute, MatmulAttribute, PreferenceAttribute
from mocha_cuda.cublaslt.library import SIGNATURES, CublasError, Descriptor, library
from mocha_cuda.cublaslt.matmul import Epilogue, Matmul, Matrix, Product

from mocha_core.errors import BackendError


@pytest.fixture(scope="module")
def lt():
    try:
        return library()
    except BackendError as error:
        pytest.skip(f"cuBLASLt is not here: {error}")


@pytest.fixture(scope="module")
def includes():
    """Where the headers of cuBLAS and of the CUDA runtime, which it includes, are."""
    folders = [Path(folder) for entry in sys.path for folder in Path(entry).glob("nvidia/*/include")]
    folders += [Path("/usr/local/cuda/include")]
    for name in ("cublasLt.h", "library_types.h"):
        if not any((folder / name).exists() for folder in folders):
            pytest.skip(f"{name} is neither in nvidia/*/include, of the wheels nvidia-cublas and nvidia-cuda-runtime, "
                        "nor in /usr/local/cuda/include")  # fmt: skip
    return [f"-I{folder}" for folder in folders if folder.exists()]


ENUMS = [kind for kind in vars(constants).values() if isinstance(kind, type) and issubclass(kind, Enum) and len(kind)]


def members():
    """(C's name, value) of all constants."""
    for kind in ENUMS:
        prefix = re.match(r"`(\w+)_`", kind.__doc__)[1]
        for member in kind:
            yield f"{prefix}_{member.name.lstrip('_')}", getattr(member, "number", member.value)


def test_constants_and_structures_are_those_of_the_header(includes, tmp_path):
    structures = {
        "cublasLtMatmulAlgo_t": constants.Algorithm,
        "cublasLtMatmulHeuristicResult_t": constants.HeuristicResult,
    }
    claims = [f"{name} == {value}" for name, value in members()]
    for name, structure in structures.items():
        claims.append(f"sizeof({name}) == {ctypes.sizeof(structure)}")
        for field, _ in structure._fields_:
            claims.append(f"offsetof({name}, {field}) == {getattr(structure, field).offset}")
    assert len(claims) > 40
    lines = ["#include <stddef.h>", "#include <cublasLt.h>", *(f'_Static_assert({c}, "{c}");' for c in claims)]
    command = ["gcc", "-std=c11", "-fsyntax-only", "-x", "c", "-", *includes]
    run = subprocess.run(command, input="\n".join(lines) + "\n", text=True, capture_output=True)
    assert not run.returncode, run.stderr


def test_attributes_have_the_types_of_the_header(includes):
    """The header says them in comments before the members."""
    header = next(Path(i[2:]) / "cublasLt.h" for i in includes if (Path(i[2:]) / "cublasLt.h").exists()).read_text()
    names = {"int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32, "int64_t": ctypes.c_int64}
    names |= {"uint64_t": ctypes.c_uint64, "const void *": ctypes.c_void_p, "void *": ctypes.c_void_p}
    for kind in (MatmulAttribute, LayoutAttribute, PreferenceAttribute):
        prefix = re.match(r"`(\w+)_`", kind.__doc__)[1]
        for member in kind:
            comment = re.search(rf"/\*\*((?:(?!\*/).)*?)\*/\s*{prefix}_{member.name} = {member.number},", header, re.S)[
                1
            ]
            said = re.findall(r"\*\s+(?:\w+ \w+: )?((?:const )?void \*|u?int(?:32|64)_t)\b", comment)
            said += re.findall(r"((?:const )?void \*), default", comment)
            assert said, comment
            assert {names[name] for name in said} == {member.c_type}, member


def test_functions_are_declared_as_in_the_header(includes, tmp_path):
    """The fake library is compiled against the header, and the binding's argument types against the fake's source."""
    build(tmp_path, "-DWITH_HEADER", *includes)
    pointers = {ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t)}
    pointers |= {ctypes.POINTER(t) for t in (ctypes.c_int, constants.Algorithm, constants.HeuristicResult)}
    source = re.sub(r"\s+", " ", SOURCE.read_text())
    for name, arguments in SIGNATURES.items():
        declared = re.search(rf"cublasStatus_t {name}\( ?([^)]*)\)", source)[1].split(", ")
        assert len(declared) == len(arguments), name
        for text, argument in zip(declared, arguments, strict=True):
            handle = re.search(r"\*|\[\]|Handle_t|Layout_t|MatmulDesc_t|Preference_t|Stream_t", text)
            wanted = {"uint64_t": ctypes.c_uint64, "int64_t": ctypes.c_int64, "size_t": ctypes.c_size_t}
            plain = wanted.get(text.split()[0], ctypes.c_int)
            assert argument in pointers if handle else argument is plain, (name, text)


def test_every_attribute_can_be_set(lt):
    """With the right sizes: cuBLASLt refuses others."""
    descriptors = (
        (MatmulAttribute, Descriptor(lt, "cublasLtMatmulDesc", ComputeType._32F, DataType.R_32F)),
        (LayoutAttribute, Descriptor(lt, "cublasLtMatrixLayout", DataType.R_32F, 6, 4, 6)),
        (PreferenceAttribute, Descriptor(lt, "cublasLtMatmulPreference")),
    )
    for kind, descriptor in descriptors:
        for attribute in kind:
            before = descriptor.get(attribute)
            descriptor.set(attribute, before)
            assert descriptor.get(attribute) == before
    assert descriptors[1][1].get(LayoutAttribute.LD) == 6
    assert [descriptors[2][1].get(a) for a in PreferenceAttribute] == [0, 7, 256, 256, 256, 256]  # as the header says


def test_what_is_wrong_is_refused(lt):
    layout = Descriptor(lt, "cublasLtMatrixLayout", DataType.R_32F, 6, 4, 6)

    class Wrong(constants.Attribute):
        ROWS = 2, ctypes.c_uint8

    with pytest.raises(
        CublasError, match=r"Wrong.ROWS: cublasLtMatrixLayoutSetAttribute .*STATUS_INVALID_VALUE \(7: .+\)"
    ):
        layout.set(Wrong.ROWS, 5)


@pytest.mark.parametrize("epilogue", Epilogue)
@pytest.mark.parametrize("precision", ["tf32", "float32", "bf16", "float64"])
def test_products_are_described_to_the_library_itself(lt, precision, epilogue):
    dtype = "float64" if precision == "float64" else "float32"
    vector = None if epilogue is Epilogue.NONE else 4096
    shapes = (64, 500), (64, 800), (500, 800)
    a, b, d = (Matrix(1 << 20, dtype, *shape, shape[1], 2, shape[0] * shape[1]) for shape in shapes)
    kind = "tf32" if precision == "float64" else precision
    product = Product(a, b, d, transpose_a=True, epilogue=epilogue, vector=vector, precision=kind)

    class NoHandle:
        library, value = lt, ctypes.c_void_p()

    matmul = Matmul(NoHandle, product)
    told = matmul._matmul
    assert told.get(MatmulAttribute.COMPUTE_TYPE) == product.compute_type
    assert told.get(MatmulAttribute.EPILOGUE) == epilogue.value
    assert told.get(MatmulAttribute.BIAS_POINTER) == (vector or 0)
    assert [told.get(a) for a in (MatmulAttribute.TRANSA, MatmulAttribute.TRANSB)] == [0, 1]
    assert [matmul._a.get(attribute) for attribute in LayoutAttribute] == [
        1 if dtype == "float64" else 0, 800, 64, 800, 2, 64 * 800
    ]  # fmt: skip
    # Without a handle no search can succeed; the descriptors are looked at later.
    with pytest.raises(CublasError, match="cublasLtMatmulAlgoGetHeuristic returned CUBLAS_STATUS_NOT_INITIALIZED"):
        matmul.algorithms(32 << 20, True, 8)


def test_a_handle_needs_a_device(lt):
    try:
        lt.handle()
    except CublasError as error:
        assert "cublasLtCreate returned CUBLAS_STATUS_NOT_INITIALIZED (1" in str(error)  # noqa: PT017

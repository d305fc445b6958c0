"""`Conformance`: what the test classes of the kit have in common. Needs pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from mocha_core.errors import ConfigurationError
from mocha_core.testing.backends import installed
from mocha_core.testing.tolerances import TOLERANCES, Tolerance


class Conformance:
    """Standard tests, run for every case, backend and dtype. A subclass adds tests but replaces none.

    Attributes:
        xfail: tests that are known to fail and why, such as `{"test_rows": "the layer mixes rows"}`; the key may
            also be one test of the listing, such as "test_rows[wide-cpu-float32]". One that passes is reported.
        backends: names of the backends; None: all that can be used here.
        tolerances: how close results have to be, by dtype.
    """

    xfail: ClassVar[Mapping[str, str]] = {}
    backends: ClassVar[Sequence[str] | None] = None
    tolerances: ClassVar[Mapping[str, Tolerance]] = TOLERANCES

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        standard = {
            n for base in cls.__mro__[1:] if base.__module__.startswith("mocha_core.") for n in vars(base)
        }
        if replaced := sorted(n for n in vars(cls) if n.startswith("test_") and n in standard):
            raise ConfigurationError(
                f"{cls.__name__} replaces the standard {', '.join(replaced)}. Give your test another name, or let "
                f"the standard one fail with a reason: xfail = {{'{replaced[0]}': '...'}}."
            )
        for test, reason in cls.xfail.items():
            if not hasattr(cls, test.partition("[")[0]) or not reason:
                raise ConfigurationError(
                    f"{cls.__name__}: expected xfail to map names of tests to reasons, received '{test}': {reason!r}."
                )

    @classmethod
    def parameters(cls) -> Mapping[str, Sequence[Any]]:
        """What the arguments of the tests range over; those that a test does not name are not used."""
        names = list(installed() if cls.backends is None else cls.backends)
        return {
            "any_backend": names,
            "backend": [name for name in names if name != "strict"],
            "dtype": list(TOLERANCES),
        }

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        for argument, values in self.parameters().items():
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, values)

    @pytest.fixture(autouse=True)
    def expected_failure(self, request: pytest.FixtureRequest) -> None:
        """Marks the tests named in `xfail`."""
        for test in {request.node.name, request.node.name.partition("[")[0]} & set(self.xfail):
            request.applymarker(pytest.mark.xfail(reason=self.xfail[test], strict=True))

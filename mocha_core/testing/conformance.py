"""`Conformance`: the base of the kit's test classes. Needs pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from mocha_core.errors import ConfigurationError
from mocha_core.testing.backends import installed
from mocha_core.testing.tolerances import TOLERANCES


class Conformance:
    """Standard tests, run for every case, backend and dtype. A subclass adds tests but replaces none.

    Attributes:
        cases: the objects under test, by name.
        xfail: tests that are known to fail and why, such as `{"test_rows": "the layer mixes rows"}`; the key may
            also be one test of the listing, "test_rows[wide-cpu-float32]". A test that passes is reported.
        backends: names of the backends; None: all that are available.
        tolerances: the relative errors allowed in results, by dtype.
    """

    cases: ClassVar[Mapping[str, Any]] = {}
    xfail: ClassVar[Mapping[str, str]] = {}
    backends: ClassVar[Sequence[str] | None] = None
    tolerances: ClassVar[Mapping[str, float]] = TOLERANCES

    def __init_subclass__(cls) -> None:
        standard = {n for c in cls.__mro__[1:] if c.__module__.startswith("mocha_core.") for n in vars(c)}
        for test in standard & {n for n in vars(cls) if n.startswith("test_")}:
            raise ConfigurationError(
                f"{cls.__name__} replaces the standard {test}. Give your test another name, or let the standard "
                f"one fail with a reason: xfail = {{'{test}': '...'}}."
            )
        for test, reason in cls.xfail.items():
            if not hasattr(cls, test.partition("[")[0]) or not reason:
                raise ConfigurationError(
                    f"{cls.__name__}: expected xfail to map tests to reasons, received '{test}': {reason!r}."
                )

    def arguments(self) -> dict[str, list[Any]]:
        """The arguments of standard tests, by name."""
        names = list(installed() if self.backends is None else self.backends)
        return {
            "name": list(self.cases),
            "any_backend": names,
            "backend": [name for name in names if name != "strict"],
            "dtype": list(TOLERANCES),
        }

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        chosen = metafunc.config.getoption("--mocha-backends", default=None)
        for argument, values in self.arguments().items():
            if argument in metafunc.fixturenames:
                if chosen and argument in ("any_backend", "backend", "backend_of_its_own"):
                    values = [name for name in values if name in chosen.split(",")]
                none = pytest.param(None, marks=pytest.mark.skip(reason=f"nothing to test: no {argument}"))
                metafunc.parametrize(argument, values or [none])

    @pytest.fixture(autouse=True)
    def expected_failure(self, request: pytest.FixtureRequest) -> None:
        """Marks the tests named in `xfail`."""
        for test in {request.node.name, request.node.name.partition("[")[0]} & set(self.xfail):
            request.applymarker(pytest.mark.xfail(reason=self.xfail[test], strict=True))

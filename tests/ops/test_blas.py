"""How many threads BLAS uses is one number of the process, which several threads limit and give back."""

from mocha_cpu.blas import blas_threads
from threadpoolctl import threadpool_info, threadpool_limits


def now():
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}


def test_the_smallest_limit_holds_until_the_last_is_left():
    with threadpool_limits(limits=3, user_api="blas"):
        with blas_threads(2):
            assert now() == {2}
            with blas_threads(1):
                assert now() == {1}
                with blas_threads(2):
                    assert now() == {1}
            assert now() == {2}
        assert now() == {3}


def test_limits_that_overlap_as_those_of_two_threads_are_undone():
    with threadpool_limits(limits=3, user_api="blas"):
        one, other = blas_threads(1), blas_threads(2)
        one.__enter__()
        other.__enter__()
        assert now() == {1}
        one.__exit__()
        assert now() == {2}
        other.__exit__()
        assert now() == {3}

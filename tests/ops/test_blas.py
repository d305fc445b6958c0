"""How many threads BLAS uses is one number of the process, which several threads limit and give back."""

from concurrent.futures import ThreadPoolExecutor

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


def test_limits_of_two_threads_hold_in_both_and_are_undone():
    with threadpool_limits(limits=3, user_api="blas"), ThreadPoolExecutor(1) as other:

        def elsewhere(call):
            other.submit(call).result()
            return now()

        assert elsewhere(blas_threads(2).__enter__) == {2}
        blas_threads(1).__enter__()
        assert now() == {1}
        assert elsewhere(blas_threads(2).__exit__) == {1}
        assert elsewhere(blas_threads(1).__enter__) == {1}
        blas_threads(1).__exit__()
        assert elsewhere(blas_threads(1).__exit__) == {3}

"""How many threads are used: affinity, quotas of control groups in files made up for the test, OMP_NUM_THREADS."""

import os
import warnings

import pytest

from mocha_core.errors import ConfigurationError
from mocha_core.host import cpus as host_cpus


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Eight processors in four cores, of which all are in the affinity mask; a function that writes files."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    host_cpus._warn.cache_clear()

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    write(
        {
            f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{cpu % 4},{cpu % 4 + 4}\n"
            for cpu in range(8)
        }
    )
    return write


VERSION_2 = {"proc/self/cgroup": "0::/pods/mine\n"}
VERSION_1 = {"proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/pods/mine\n1:name=systemd:/x\n0::/\n"}


def version_1(folder, quota, period="100000"):
    place = f"sys/fs/cgroup/cpu/{folder}"
    return {f"{place}/cpu.cfs_quota_us": f"{quota}\n", f"{place}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (VERSION_2, None),
        (VERSION_2 | {"sys/fs/cgroup/pods/mine/cpu.max": "max 100000\n"}, None),
        (VERSION_2 | {"sys/fs/cgroup/pods/mine/cpu.max": "200000 100000\n"}, 2),
        (VERSION_2 | {"sys/fs/cgroup/pods/mine/cpu.max": "150000 100000\n"}, 2),
        (VERSION_2 | {"sys/fs/cgroup/pods/mine/cpu.max": "10000 100000\n"}, 1),
        (VERSION_2 | {"sys/fs/cgroup/pods/mine/cpu.max": "max 100000\n", "sys/fs/cgroup/pods/cpu.max": "3000 1000"}, 3),
        (VERSION_2 | {"sys/fs/cgroup/pods/mine/cpu.max": "4000 1000\n", "sys/fs/cgroup/pods/cpu.max": "3000 1000"}, 3),
        (VERSION_2 | {"sys/fs/cgroup/cpu.max": "500000 100000\n"}, 5),
        (VERSION_2 | {"sys/fs/cgroup/cpu.max": "nonsense\n"}, None),
        (VERSION_2 | {"sys/fs/cgroup/cpu.max": "1000 0\n"}, None),
        (VERSION_1, None),
        (VERSION_1 | version_1("pods/mine", -1), None),
        (VERSION_1 | version_1("pods/mine", 250000), 3),
        (VERSION_1 | version_1("pods/mine", -1) | version_1("pods", 400000), 4),
        (VERSION_1 | version_1("", 100000), 1),
        (VERSION_1 | {name.replace("/cpu/", "/cpu,cpuacct/"): t for name, t in version_1("pods", 200000).items()}, 2),
        (VERSION_1 | {"sys/fs/cgroup/cpu.max": "500000 100000\n"}, 5),
    ],
    ids=str,
)
def test_quota(machine, files, expected):
    assert host_cpus.quota(machine(files)) == expected


@pytest.mark.parametrize(
    ("quota", "processors", "cores"), [("max", 8, 4), ("6000", 6, 4), ("2500", 3, 3), ("100", 1, 1), ("99000", 8, 4)]
)
def test_processors_and_cores_are_no_more_than_the_quota(machine, quota, processors, cores):
    root = machine(VERSION_2 | {"sys/fs/cgroup/pods/mine/cpu.max": f"{quota} 1000\n"})
    assert (host_cpus.processors(root), host_cpus.cores(root)) == (processors, cores)
    assert host_cpus.default_threads(root) == cores


def test_processors_are_those_of_the_affinity_mask(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 6}, raising=False)
    root = machine({})
    assert (host_cpus.processors(root), host_cpus.cores(root)) == (3, 2)


def test_without_affinity_masks_the_machine_is_counted(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert host_cpus.processors(machine({})) == 6


@pytest.mark.parametrize(
    ("given", "threads"), [("3", 3), ("8", 8), (" 2 ", 2), ("4,2", 4), ("007", 7), ("", 4), ("  ", 4)]
)
def test_what_omp_num_threads_says(machine, monkeypatch, given, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert host_cpus.default_threads(machine({})) == threads


@pytest.mark.parametrize("given", ["1000", "9", "9" * 30, "9" * 5000, "1" + "0" * 30, "12,2"])
def test_more_threads_than_processors_are_bounded_with_one_warning(machine, monkeypatch, given):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    root = machine({})
    with pytest.warns(RuntimeWarning, match=f"OMP_NUM_THREADS='{given}' is more than the 8 processors") as caught:
        assert host_cpus.default_threads(root) == host_cpus.default_threads(root) == 8
    assert len(caught) == 1


@pytest.mark.parametrize("given", ["abc", "0", "-1", "1.5", ",3", "0x4", "٣"])
def test_what_is_no_number_of_threads_is_ignored_with_one_warning(machine, monkeypatch, given):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    root = machine({})
    with pytest.warns(RuntimeWarning, match="is ignored: expected an integer >= 1. The default is 4 threads") as caught:
        assert host_cpus.default_threads(root) == host_cpus.default_threads(root) == 4
    assert len(caught) == 1
    assert repr(given) in str(caught[0].message)


@pytest.mark.parametrize(("given", "threads"), [("abc", 4), ("1000", 8)])
def test_the_work_goes_on_where_warnings_are_errors(machine, monkeypatch, caplog, given, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert host_cpus.default_threads(machine({})) == threads
    assert f"OMP_NUM_THREADS='{given}'" in caplog.text


def test_omp_num_threads_is_bounded_by_the_quota(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    root = machine(VERSION_2 | {"sys/fs/cgroup/pods/mine/cpu.max": "2000 1000\n"})
    with pytest.warns(RuntimeWarning, match="more than the 2 processors"):
        assert host_cpus.default_threads(root) == 2


def test_threads_that_the_user_asks_for(machine):
    root = machine(VERSION_2 | {"sys/fs/cgroup/pods/mine/cpu.max": "2000 1000\n"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [host_cpus.checked_threads(n, root) for n in (1, 3, 16)] == [1, 3, 16]
    for n in (17, 1000, 1 << 70):
        with pytest.raises(ConfigurationError, match=rf"at most 16 threads, received {n}\. .*use threads=2"):
            host_cpus.checked_threads(n, root)
    for wrong in (0, -1, 1.5, "two", True):
        with pytest.raises(ConfigurationError, match="threads to be an integer >= 1"):
            host_cpus.checked_threads(wrong, root)


def test_a_large_machine_does_not_allow_more_than_openmp_stands(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(1000)), raising=False)
    root = machine({})
    assert host_cpus.checked_threads(1024, root) == 1024
    with pytest.raises(ConfigurationError, match="at most 1024 threads"):
        host_cpus.checked_threads(1025, root)

"""Which plan was the fastest is remembered on disk, whatever happens to the files."""

import json
import subprocess
import sys
import warnings

import pytest
from mocha_cuda import nvrtc
from mocha_cuda.cudnn.plan_cache import MOST_BYTES, PlanCache
from mocha_cuda.cudnn.plans import Choice

from mocha_core.host import caches

MACHINE = {"cudnn": 92800, "device": "a device", "driver": 13000}
CHOICE = Choice(67, ((1, 2), (14, 3)))


@pytest.fixture
def cache(tmp_path):
    return PlanCache(tmp_path / "not there yet", MACHINE)


def test_what_is_kept_is_found_by_another_process(cache):
    assert cache.find("a question") is None
    cache.keep("a question", CHOICE)
    assert PlanCache(cache.folder, dict(MACHINE)).find("a question") == CHOICE
    cache.keep("a question", Choice(0))
    assert cache.find("a question") == Choice(0)


@pytest.mark.parametrize("other", [{"cudnn": 92900}, {"device": "another"}, {"driver": 13010}])
def test_another_machine_has_its_own(cache, other):
    cache.keep("a question", CHOICE)
    assert cache.find("another question") is None
    assert PlanCache(cache.folder, MACHINE | other).find("a question") is None


def broken(key):
    yield "empty", b""
    yield "cut", json.dumps({"key": key, "engine": 1, "knobs": []}).encode()[:-3]
    yield "no text", bytes(range(256))
    yield "no object", b"[1, 2]"
    yield "nothing in it", b"{}"
    yield "another's", json.dumps({"key": {**key, "driver": 1}, "engine": 1, "knobs": []}).encode()
    yield "an engine of text", json.dumps({"key": key, "engine": "1", "knobs": []}).encode()
    yield "an engine that is true", json.dumps({"key": key, "engine": True, "knobs": []}).encode()
    yield "knobs of text", json.dumps({"key": key, "engine": 1, "knobs": [["a", "b"]]}).encode()
    yield "three numbers", json.dumps({"key": key, "engine": 1, "knobs": [[1, 2, 3]]}).encode()
    yield "a number", json.dumps({"key": key, "engine": 1, "knobs": 3}).encode()
    yield "huge numbers", json.dumps({"key": key, "engine": 10**30, "knobs": []}).encode()
    yield "not a number", b'{"key": 1, "engine": NaN, "knobs": []}'
    yield "deep", b"[" * (MOST_BYTES - 1)
    yield "endless", b" " * (2 * MOST_BYTES)


@pytest.mark.parametrize(
    ("name", "content"), [pytest.param(*case, id=case[0]) for case in broken({"format": 1, **MACHINE, "question": "q"})]
)
def test_a_broken_file_is_ignored_and_written_again(cache, name, content):
    cache.folder.mkdir()
    cache.path("q").write_bytes(content)
    with pytest.warns(RuntimeWarning, match=r"cudnn-plan-\w+\.json' holds no plan of cuDNN \(.+\): it is ignored"):
        assert cache.find("q") is None
    cache.keep("q", CHOICE)
    assert cache.find("q") == CHOICE


def test_a_folder_in_its_place(cache):
    cache.path("q").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="is ignored"):
        assert cache.find("q") is None
    with pytest.warns(RuntimeWarning, match="fastest plan was not kept"):
        cache.keep("q", CHOICE)


@pytest.mark.filterwarnings("error")
def test_a_cache_that_fails_does_not_where_warnings_are_errors(cache, caplog):
    cache.path("q").mkdir(parents=True)
    assert cache.find("q") is None
    cache.keep("q", CHOICE)
    assert "is ignored" in caplog.text
    assert "fastest plan was not kept" in caplog.text


@pytest.mark.parametrize("given", ["kept", "~/kept", ""])
def test_the_folder_is_one_wherever_the_program_goes(tmp_path, monkeypatch, given):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(nvrtc.VARIABLE, given)
    caches._resolved.cache_clear()
    folder = nvrtc.cache_folder()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert nvrtc.cache_folder() == folder == tmp_path / ("kept" if given else ".cache/mocha-cuda")
    caches._resolved.cache_clear()


def test_without_a_home_nothing_is_kept(monkeypatch):
    """As for the user of a container that no one has named."""
    monkeypatch.setenv(nvrtc.VARIABLE, "~nobody-at-all/kept")
    assert not nvrtc.cache_folder().parent.is_dir()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    cache = PlanCache(tmp_path / "file" / "folder", MACHINE)
    with pytest.warns(RuntimeWarning, match="is ignored"):
        assert cache.find("q") is None
    with pytest.warns(RuntimeWarning, match="fastest plan was not kept"):
        cache.keep("q", CHOICE)


PROGRAM = f"""
import sys, warnings
from pathlib import Path
from mocha_cuda.cudnn.plan_cache import PlanCache
from mocha_cuda.cudnn.plans import Choice

from mocha_core.host import caches
warnings.simplefilter("error")
cache = PlanCache(Path(sys.argv[1]), {MACHINE!r})
for i in range(200):
    cache.keep("q", Choice(int(sys.argv[2]), tuple((k, i) for k in range(20))))
    found = cache.find("q")
    assert len(set(value for _, value in found.knobs)) == 1 and len(found.knobs) == 20
"""


def test_two_processes_write_the_same_file(cache):
    programs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(cache.folder), str(engine)], stderr=subprocess.PIPE)
        for engine in (1, 2)
    ]
    for program in programs:
        _, errors = program.communicate()
        assert program.returncode == 0, errors.decode()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.find("q").engine in (1, 2)
    assert [path.name for path in cache.folder.iterdir()] == [cache.path("q").name]

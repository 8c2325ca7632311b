"""A C source is built once per machine kind; where it cannot be built, that is said and nothing breaks."""

import ctypes
import logging
import shutil

import pytest

from grasp_ray.influence.kernels import compiled

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, compiled.COMPILERS)), reason="needs a C compiler"
)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "answer.c"
    path.write_text("int answer(void) { return 42; }\n")
    return path


def built(tmp_path):
    return sorted((tmp_path / "cache" / "grasp_ray").iterdir())


@needs_compiler
def test_it_is_built_once(source, tmp_path):
    assert compiled.library(source).answer() == 42
    (library,) = built(tmp_path)
    before = library.stat().st_mtime_ns
    compiled.library.cache_clear()
    assert compiled.library(source).answer() == 42
    assert [(path, path.stat().st_mtime_ns) for path in built(tmp_path)] == [(library, before)]


@needs_compiler
def test_another_source_or_other_flags_are_another_library(source, tmp_path, monkeypatch):
    assert compiled.library(source).answer() == 42
    compiled.library.cache_clear()
    source.write_text("int answer(void) { return 43; }\n")
    assert compiled.library(source).answer() == 43
    compiled.library.cache_clear()
    monkeypatch.setattr(compiled, "FLAGS", (*compiled.FLAGS, "-O1"))
    assert isinstance(compiled.library(source), ctypes.CDLL)
    assert len(built(tmp_path)) == 3


@needs_compiler
def test_what_the_compiler_refuses_is_logged_and_leaves_nothing(source, tmp_path, caplog):
    source.write_text("int answer(void) { return lacking; }\n")
    with caplog.at_level(logging.INFO):
        assert compiled.library(source) is None
    assert "answer.c is not compiled here" in caplog.text
    assert "lacking" in caplog.text
    assert built(tmp_path) == []


def test_a_machine_without_compiler_is_told_what_to_install(source, monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    with caplog.at_level(logging.INFO):
        assert compiled.library(source) is None
    assert "install gcc and libc6-dev" in caplog.text

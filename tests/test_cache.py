from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from cilf import cache as module
from cilf.cache import cache, cached


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files, with no variables set that name another cache."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return folder


def test_the_home_directory_comes_first(temporary, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache("models") == tmp_path / ".cache" / "cilf" / "models"


def test_another_place_can_be_named(temporary, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache("models") == tmp_path / "x" / "cilf" / "models"


def test_a_home_that_cannot_be_written_to(temporary, monkeypatch):
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith("/proc"))
    assert cache("models") == temporary / f"cilf-models-{os.getuid()}"


def test_no_home_at_all(temporary, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without HOME and an entry in /etc/passwd
    assert cached("models") == [temporary / f"cilf-models-{os.getuid()}"]


def test_what_is_there_is_found_even_where_nothing_can_be_added(temporary, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(tmp_path / ".cache")))
    (tmp_path / ".cache").mkdir()
    assert cache("models").parent == temporary
    assert cached("models")[0] == tmp_path / ".cache" / "cilf" / "models"


def test_a_folder_that_another_user_has_put_there_is_not_used(temporary, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(module.os, "getuid", lambda: 4_000_000)
    (temporary / "cilf-models-4000000").mkdir()
    assert cached("models") == [tmp_path / ".cache" / "cilf" / "models"]


def test_nowhere_to_write(temporary, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=f"no permission to write to .* or {temporary}"):
        cache("models")

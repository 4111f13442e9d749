"""Places in text, for messages that name them."""

from __future__ import annotations

from cilf.errors import UsageError

MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors write at the start of a UTF-8 file."""


def breaks(text: bytes) -> int:
    """How many lines end in it: with LF, CR or both."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def check_utf8(text: bytes, line: int, url: str) -> None:
    """Make sure that text, of which `line` is the first, is UTF-8.

    Raises:
        UsageError: it is not.
    """
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line += breaks(text[: error.start])
        raise UsageError(
            f"{url}: line {line} is no UTF-8 (byte 0x{text[error.start]:02x}): save the file as UTF-8"
        ) from error

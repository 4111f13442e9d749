"""Line numbers in text, for messages."""

from __future__ import annotations

from cilf.errors import UsageError

MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors write at the start of a UTF-8 file."""


def breaks(text: bytes) -> int:
    """Number of line ends in a text: LF, CR or both."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def check_utf8(text: bytes, line: int, url: str) -> None:
    """Make sure that a text, whose first line has the number `line`, is UTF-8.

    Raises:
        UsageError: it is not.
    """
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line += breaks(text[: error.start])
        raise UsageError(
            f"{url}: line {line} is not UTF-8 (byte 0x{text[error.start]:02x}): save the file as UTF-8"
        ) from error

"""Age labelling for photo corpora on Ray."""

from cilf.privacy import keep_private

__version__ = "0.1.0"

keep_private()

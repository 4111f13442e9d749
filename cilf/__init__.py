"""Age labelling for photo corpora on Ray."""

__version__ = "0.1.0"

"""The Python interface. Its names are attributes of `cilf`, which imports them when they are first used."""

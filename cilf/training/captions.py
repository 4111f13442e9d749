"""Captions from the labels of a face, which the text tower reads in addition to the prompts."""

from __future__ import annotations

from cilf.datasets.age_groups import AgeGroup

_PERSON = "person"


def caption(age: float | None, group: AgeGroup | None, noun: str | None = None, adjective: str | None = None) -> str:
    """A caption such as "a photo of a 68 year old Black woman"; for an open group "a photo of a woman of 70 or more
    years".

    Args:
        age: years; None if a group is known instead.
        group: used if there is no age.
        noun: word for the person; None for "person".
        adjective: word before the noun; None for no word.
    """
    person = " ".join(filter(None, (adjective, noun or _PERSON)))
    if age is None and group is not None and group.high is None:
        return f"a photo of {_article(person)} {person} of {group.low:g} or more years"
    old = f"{_years(age, group)} year old"
    return f"a photo of {_article(old)} {old} {person}"


def _years(age: float | None, group: AgeGroup | None) -> str:
    if age is not None or group is None:
        return f"{age:g}"
    return f"{group.low:g}" if group.low == group.high else f"{group.low:g} to {group.high:g}"


def _article(text: str) -> str:
    """The indefinite article that fits a text's pronunciation: an 8, an 11 and an 18 year old, an Asian man."""
    number = text.split()[0].partition(".")[0]
    vowel = number.startswith("8") or number in ("11", "18") if number.isdecimal() else text[0] in "AEIOUaeiou"
    return "an" if vowel else "a"

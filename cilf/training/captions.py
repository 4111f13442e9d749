"""What is known of a face, as a caption of its photograph: what the text tower reads beside the prompts."""

from __future__ import annotations

from cilf.datasets.age_groups import AgeGroup

_PERSON = "person"


def caption(age: float | None, group: AgeGroup | None, noun: str | None = None, adjective: str | None = None) -> str:
    """Such as "a photo of a 68 year old Black woman"; of an open group "a photo of a woman of 70 or more years".

    Args:
        age: years; None where a group is known instead.
        group: what counts where there is no age.
        noun: for the person; None: "person".
        adjective: before it; None: nothing.
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
    """The one that fits how a text is spoken: an 8, an 11 and an 18 year old, an Asian man."""
    number = text.split()[0].partition(".")[0]
    vowel = number.startswith("8") or number in ("11", "18") if number.isdecimal() else text[0] in "AEIOUaeiou"
    return "an" if vowel else "a"

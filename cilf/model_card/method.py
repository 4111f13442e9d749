"""How much of CILF-CIAE (arXiv 2312.01758) a model uses, part by part, as its card and its recipe tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cilf.card import Card, Model
from cilf.evaluation.layout import plain, with_ends
from cilf.model_card.results import PARTS, percent

_WORTH = {
    "Context-aware prompting": "text conditioning",
    "Pixel-text score map": "score map",
    "FourierFormer": "fourierformer",
    "Contrastive image-text matching": "matching",
}
"""Rows of the table by the part that `cilf evaluate --parts` takes away."""


def method(card: Card) -> str:
    """A table of the method's parts: what each is in this model, and what it is worth."""
    if card.model.system is not None:
        return f"Nothing of it: this model is another system, `{card.model.system.system}`."
    measured = next((value for name, value in card.figures.items() if name.endswith(PARTS)), None)
    rows = [("part", "in this model", "without it"), ("---", "---", "---:")]
    rows += [(part, plain(words), _worth(part, measured)) for part, words in _parts(card)]
    return "\n\n".join(["\n".join(f"| {' | '.join(row)} |" for row in rows), *_told(measured)])


def _worth(part: str, measured: Mapping[str, Any] | None) -> str:
    if measured is None or part not in _WORTH or _WORTH[part] not in measured["above_whole"]:
        return ""
    return with_ends(measured["above_whole"][_WORTH[part]], sign="+")


def _told(measured: Mapping[str, Any] | None) -> Iterator[str]:
    if measured is not None:
        yield (
            f"The last column: how much worse the first estimate is without the part ({measured['measure']}; "
            f"{measured['whole']['value']:.2f} with all of them), with 95 % bootstrap intervals over "
            f"{measured['rows']:,} faces. The network was trained with all parts, and not again without them."
        )


def _parts(card: Card) -> Iterator[tuple[str, str]]:
    spec, recipe = card.model, card.training.get("recipe", {})
    yield "CLIP's image tower", _image_tower(spec, recipe)
    yield "CLIP's text tower", _text_tower(spec, recipe, card.training.get("captions"))
    yield "Prompts", _prompts(spec)
    yield "Context-aware prompting", _context_aware(spec)
    yield (
        "Pixel-text score map",
        "the cosine of every cell of the image with every age; it goes into the posterior",
    )
    yield "FourierFormer", _fourierformer(spec)
    yield "Contrastive image-text matching", "a loss in training; its nearness to the prompts goes into the posterior"
    yield "Error-correcting inverse estimation", _correction(card)


def _image_tower(spec: Model, recipe: Mapping[str, Any]) -> str:
    architecture, start = spec.clip.architecture, recipe.get("start") or recipe.get("image_init")
    if isinstance(architecture, str):
        tower = f"CLIP's `{architecture}`"
    else:
        vision = architecture["vision_cfg"]
        tower = f"`{vision['timm_model_name']}`" if "timm_model_name" in vision else "a vision transformer"
    if stages := spec.clip.stages:
        tower += f", its first {stages} stages"
    if isinstance(start, Mapping):
        start = ", ".join(start)
    if spec.clip.weights is not None:
        return f"{tower}, from CLIP's weights `{_file(spec.clip.weights)}`"
    return f"{tower}, from {f'`{_file(start)}`' if start else 'nothing'}; CLIP's weights are not in use"


def _text_tower(spec: Model, recipe: Mapping[str, Any], captions: Mapping[str, Any] | None) -> str:
    words = "CLIP's weights" if spec.clip.weights is not None else "no weights of CLIP"
    if recipe.get("start"):
        return f"{words}; the prompts' vectors are those of `{_file(recipe['start'])}`"
    learned = bool(recipe.get("train_text"))
    words += ", trained here" if learned else ", not trained here"
    if learned and captions and captions["examples"]:
        example = captions["examples"][0]
        words += f"; it has read {captions['different']:,} different captions, such as “{example}”"
    elif learned:
        words += "; it has read the prompts, and no other text"
    return words + ". Only the prompts' vectors are kept"


def _prompts(spec: Model) -> str:
    prompts = spec.prompts
    learned = f"{prompts.context} learned words before them" if prompts.context else "no learned words"
    templates = ", ".join(f"“{template}”" for template in prompts.templates)
    return f"{len(spec.ages.space)} classes in {prompts.numbers}, the mean of {templates}; {learned}"


def _context_aware(spec: Model) -> str:
    words = []
    if spec.prompts.conditioned:
        words.append("each image changes the prompts' vectors, after the text tower")
    if spec.fourier.film and spec.fourier.depth:
        words.append("the text that the score map points to modulates the FourierFormer")
    return " and ".join(words) or "not in use"


def _fourierformer(spec: Model) -> str:
    fourier = spec.fourier
    if not fourier.depth:
        return "not in use"
    blocks = "1 block" if fourier.depth == 1 else f"{fourier.depth} blocks"
    place = "in place of the tower's last stages" if spec.clip.stages else "behind the whole image tower"
    if fourier.mixer in ("attention", "conv"):
        return f"not in use: {blocks} with the mixer `{fourier.mixer}` instead, {place}"
    return f"{blocks} with the mixer `{fourier.mixer}`, {place}"


def _correction(card: Card) -> str:
    correction = card.correction
    if correction is None:
        return "not in use"
    answers = {"Second look": correction.get("second_look"), "Moving an estimate": correction.get("moving")}
    told = [f"{name}: {answer}" for name, answer in answers.items() if answer]
    judged = "an ensemble judges the error of each estimate; a better age has a closed form, so none is searched for"
    return ". ".join([judged, *told])


def _file(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def own_parts(card: Card) -> Iterator[str]:
    """What this project adds to the method."""
    yield "Intervals: conformal, calibrated on faces that the network has not learned from."
    yield "Acceptance: an estimate whose judged error is above a threshold is marked as not accepted."
    recipe = card.training.get("recipe", {})
    if teacher := recipe.get("teacher"):
        yield (
            f"A teacher in training, frozen: `{', '.join(teacher)}` with age heads that are fitted out of fold. Its "
            "posteriors are learned beside the labels."
        )
    if second := recipe.get("second"):
        yield f"A second look at the faces that are judged worst, by another network, frozen: `{', '.join(second)}`."
    for name, result in card.figures.items():
        if name.endswith(PARTS):
            yield f"{name.removesuffix(PARTS)}: {_second_look(result)}"


def _second_look(result: Mapping[str, Any]) -> str:
    correction = result["correction"]
    if not correction["rows"]:
        return "no face is looked at again."
    return (
        f"{percent(correction['share'])} of the faces are looked at again, which gains "
        f"{with_ends(correction['gain'], sign='+')} ({result['measure']} of these faces)."
    )

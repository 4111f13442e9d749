"""Made-up faces and photographs, as the model labels them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MODEL = "0123456789ab"


def face(age: float, **given: Any) -> dict[str, Any]:
    """A face with a confident, accepted estimate."""
    box = {"left": 10.0, "top": 20.0, "right": 110.0, "bottom": 140.0, "detection": 0.99}
    judged = {"age": age, "age_low": age - 10, "age_high": age + 10, "first_age": age, "expected_error": 4.0}
    return {**box, **judged, "corrections": 0, "accepted": True, **given}


def photograph(number: int, faces: Sequence[dict[str, Any]] = (), **given: Any) -> dict[str, Any]:
    """A row before the sink: `ok` with faces, `no_face` without."""
    return {
        "id": number,
        "uri": f"/photographs/{number}.jpg",
        "etag": None,
        "bytes": 1000,
        "status": "ok" if faces else "no_face",
        "reason": None,
        "width": 400,
        "height": 300,
        "face_count": len(faces),
        "faces": list(faces),
        "fetch_s": 0.0,
        "decode_s": 0.0,
        "model_s": 0.0,
        "batch_size": 64,
        **given,
    }

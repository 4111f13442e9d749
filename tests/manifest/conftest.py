"""A fake S3 that only has keys and answers LIST requests, and a record of the requests."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import pytest

from cilf.manifest import walking_s3


@dataclass
class Keys:
    """Stands in for the LIST requests of every bucket."""

    keys: list[str] = field(default_factory=list)
    page: int = 1000
    allowed: str = ""
    """Beginning of the prefixes that may be listed; others are denied."""
    seconds: float = 0.0
    """Delay of each answer."""
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Prefix and MaxKeys of each request."""
    in_flight: int = 0
    most_in_flight: int = 0

    async def __call__(self, fs: object, span: Any, prefix: str, MaxKeys: int, **go_on: str) -> dict[str, Any]:
        self.asked.append((prefix, MaxKeys))
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        await asyncio.sleep(self.seconds)
        self.in_flight -= 1
        if not prefix.startswith(self.allowed):
            raise PermissionError("AccessDenied")
        ordered = sorted(key for key in self.keys if key.startswith(prefix))
        first = bisect_right(ordered, go_on.get("ContinuationToken") or go_on.get("StartAfter") or "")
        found = ordered[first : first + min(MaxKeys, self.page)]
        more = first + len(found) < len(ordered)
        listed = {
            "Key": found,
            "ETag": [f'"{len(key)}"' for key in found],
            "Size": [str(len(key)) for key in found],
            "LastModified": ["2024-05-01T10:11:12.000Z"] * len(found),
        }
        return {"Listed": listed, "IsTruncated": more, "NextContinuationToken": found[-1] if more else None}


@pytest.fixture
def keys(monkeypatch) -> Keys:
    """LIST requests find these keys in every bucket."""
    stand_in = Keys()
    monkeypatch.setattr(walking_s3, "_list", stand_in)
    return stand_in

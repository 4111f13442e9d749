from __future__ import annotations

from types import SimpleNamespace

from cilf.labelling import metrics


def test_counters_grow_by_status_and_stage(monkeypatch):
    seen: list[tuple[str, float, dict[str, str]]] = []

    def counter(name: str) -> SimpleNamespace:
        return SimpleNamespace(inc=lambda value, tags=None: seen.append((name, value, tags or {})))

    monkeypatch.setattr(metrics, "_counters", lambda: (counter("objects"), counter("bytes"), counter("seconds")))
    row = {"status": "ok", "objects": 3, "bytes": 70, "fetch_s": 0.5, "decode_s": 0.0, "model_s": 1.5}
    metrics.publish(row)
    metrics.publish({**row, "status": "missing", "bytes": None, "fetch_s": None, "model_s": None})
    assert seen == [
        ("objects", 3, {"status": "ok"}),
        ("bytes", 70, {}),
        ("seconds", 0.5, {"stage": "fetch"}),
        ("seconds", 1.5, {"stage": "model"}),
        ("objects", 3, {"status": "missing"}),
    ]


def test_the_names_are_ones_that_prometheus_takes(ray_session):
    assert [counter.info["name"] for counter in metrics._counters()] == [
        "cilf_objects",
        "cilf_bytes",
        "cilf_stage_seconds",
    ]

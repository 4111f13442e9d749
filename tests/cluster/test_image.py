"""The image: the base image and the user of cluster/Dockerfile, and that it holds what the manifests run."""

from __future__ import annotations

import importlib.metadata
import re
from fnmatch import fnmatch

import pytest
from command_lines import IMAGE_ROOT, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DOCKERFILE = (ROOT / "cluster" / "Dockerfile").read_text(encoding="utf-8")
PINS = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+) \\$", re.MULTILINE)


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions with their arguments; continuation lines are joined and comments left out."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    pairs = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), arguments) for name, arguments in pairs]


def complaints(text: str) -> list[str]:
    """The problems of a Dockerfile."""
    found = []
    steps = instructions(text)
    for name, arguments in steps:
        if name == "FROM" and not re.fullmatch(r"\S+(:\d+\.\d+\.\d+\S*|@sha256:[0-9a-f]{64})( AS \w+)?", arguments):
            found.append(f"not pinned: {arguments}")
        if name == "ADD":
            found.append(f"ADD fetches and unpacks: {arguments}")
        if name in ("ENV", "ARG") and re.search(r"(?i)key|token|secret|passw|credential|index_url", arguments):
            found.append(f"stays in the image: {arguments}")
        if name == "RUN" and re.search(r"https?://|--(extra-)?index-url|\bcurl\b", arguments):
            found.append(f"an address of its own: {arguments}")
        if name == "RUN" and "pip install" in arguments:
            installs = [command.strip() for command in arguments.split("&&") if "pip install" in command]
            found += [f"without hashes: {i}" for i in installs if not re.search("--require-hashes|--no-deps", i)]
    users = [arguments for name, arguments in steps if name == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]):
        found.append("the last USER is no number, or root")
    return found


def test_nothing_is_wrong():
    assert complaints(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("nvidia/cuda:13.0.2-base-ubuntu24.04", "nvidia/cuda", "not pinned"),
        ("nvidia/cuda:13.0.2-base-ubuntu24.04", "nvidia/cuda:latest", "not pinned"),
        ("USER 1000:1000", "USER root", "root"),
        ("USER 1000:1000", "USER 0", "root"),
        ("USER 1000:1000\n", "", "root"),
        ("COPY jobs jobs", "ADD https://example.com/jobs.tar jobs", "ADD"),
        ("ENV PATH", "ENV AWS_SECRET_ACCESS_KEY=abc PATH", "stays in the image"),
        ("WORKDIR", "ARG HF_TOKEN\nWORKDIR", "stays in the image"),
        ("--require-hashes -r req", "-r req", "without hashes"),
        ("--require-hashes -r req", "--require-hashes --index-url https://example.com -r req", "an address"),
    ],
)
def test_faults_are_found(old, new, complaint):
    assert old in DOCKERFILE
    [found] = complaints(DOCKERFILE.replace(old, new))
    assert complaint in found


def copied() -> list[str]:
    sources = [arguments.split()[:-1] for name, arguments in instructions(DOCKERFILE) if name == "COPY"]
    return [source for several in sources for source in several]


def test_the_repository_is_where_the_manifests_look():
    assert [arguments for name, arguments in instructions(DOCKERFILE) if name == "WORKDIR"] == [IMAGE_ROOT.rstrip("/")]
    assert {"cilf", "configs", "jobs"} <= set(copied())


def test_what_is_copied_is_there_and_not_ignored():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    for source in copied():
        assert (ROOT / source).exists()
        assert f"!{source}" in rules
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(copied())
    assert any(fnmatch("cilf/__pycache__", rule) for rule in rules[1:])


def test_requirements_are_pinned_and_hashed():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(PINS.findall(text))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_jobs_can_be_submitted():
    """All requirements of Ray's dashboard are installed."""
    pins = PINS.findall((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    here = {canonicalize_name(name): pin for name, pin in pins}
    asked = [Requirement(line) for line in importlib.metadata.requires("ray") or []]
    wanted = [r for r in asked if r.marker and r.marker.evaluate({"extra": "default"})]
    assert len(wanted) > 5
    for requirement in wanted:
        assert requirement.specifier.contains(here[canonicalize_name(requirement.name)], prereleases=True)


def test_ray_sends_no_statistics():
    settings = " ".join(arguments for name, arguments in instructions(DOCKERFILE) if name == "ENV").split()
    assert {"RAY_USAGE_STATS_ENABLED=0", "RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9"} <= set(settings)

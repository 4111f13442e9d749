"""cluster/README.md: the commands and files that it names exist, and its arithmetic is right."""

from __future__ import annotations

import math
import re
import shlex

import pytest
import yaml
from command_lines import ROOT, job_options

from cilf import cli
from cilf.bench.machine import this_machine
from cilf.bench.result import Objects, Result
from cilf.bench.tables import grids
from cilf.config import LabelOptions

README = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
JOBS = re.findall(r"python (?:/cilf/)?jobs/[^'`\n]+", README)
COMMANDS = re.findall(r"(?:^    |`)cilf ((?:label|bench) [^`\n]+)", README, re.MULTILINE)
SLURM = re.findall(r"cluster/slurm\.sh (.+)", README)


def test_there_is_something_to_check():
    assert (len(JOBS), len(COMMANDS), len(SLURM)) == (4, 2, 2)


@pytest.mark.parametrize("line", JOBS)
def test_jobs(line):
    options = job_options(shlex.split(line))
    if isinstance(options, LabelOptions):
        assert options.price is None or options.dry_run


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line):
    job, *arguments = shlex.split(line)
    job_options(["python", f"jobs/{job}.py", *arguments])


@pytest.mark.parametrize("line", SLURM)
def test_slurm(line):
    job, *arguments = shlex.split(line)
    assert job in cli.JOBS
    job_options(["python", f"jobs/{job}.py", *arguments])


def test_files_are_there():
    links = re.findall(r"\]\(([^)]+)\)", README)
    named = re.findall(r"(?<![\w./])cluster/[\w./-]+\w", README)
    assert len(named) > 10
    for path in [ROOT / "cluster" / link for link in links if "://" not in link] + [ROOT / name for name in named]:
        assert path.exists(), path
    kept = {path.name for path in (ROOT / "cluster").rglob("*") if path.is_file()} - {"README.md"}
    assert kept <= {link.rpartition("/")[2] for link in links}


def test_the_rows_of_the_bench_are_named_as_it_names_them():
    result = Result(this_machine(), Objects("photographs", 1, 1, None), "cilf-ciae-mobile", None)
    result.fetch, result.decode, result.faces = [1.0], [1.0], [1.0]
    rows = {row[0] for row in grids(result)[0].rows} | {"the model alone"}  # this row needs a measured model
    assert set(re.findall(r"\*([a-z ]+ alone)\*", README)) == rows


def test_the_example_of_sizing():
    c, fetch, decode, gpu = (int(n) for n in re.findall(r"c = (\d+), F = (\d+), D = (\d+) and G = (\d+)", README)[0])
    [said] = re.findall(r"= ([\d.]+) vCPUs", README)
    cpus = gpu * c * (1 / fetch + 1 / decode)
    assert float(said) == pytest.approx(cpus, abs=0.05)
    cluster = yaml.safe_load((ROOT / "cluster" / "kuberay" / "label-job.yaml").read_text(encoding="utf-8"))["spec"]
    most = {group["groupName"]: group["maxReplicas"] for group in cluster["rayClusterSpec"]["workerGroupSpecs"]}
    each = {
        int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        for group in cluster["rayClusterSpec"]["workerGroupSpecs"]
    }
    assert each == {7}
    assert most["decode"] == most["gpu"] * math.ceil((cpus - 7) / 7)

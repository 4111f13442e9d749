"""cluster/slurm.sh, run with stand-ins for Slurm's commands: the command that it would start on the nodes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from command_lines import ROOT, job_options

from cilf.config import LabelOptions, TrainOptions

SCRIPT = ROOT / "cluster" / "slurm.sh"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")


@pytest.fixture
def submit(tmp_path):
    """Run the script as the first node of an allocation; return the command that srun gets, or raise its error."""
    stand_ins = {
        "scontrol": '[[ "$*" == "show hostnames node[7-8]" ]] && printf "node7\\nnode8\\n"',
        "srun": f'printf "%s\\0" "$@" > "{tmp_path}/srun"; env -0 > "{tmp_path}/environment"',
    }
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in stand_ins.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)

    def run(*arguments: str, script: Path = SCRIPT, **environment: str) -> list[str]:
        slurm = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(ROOT),
            "SLURM_JOB_NODELIST": "node[7-8]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_JOB_ID": "123456",
            "SLURM_CPUS_PER_TASK": "16",
        }
        subprocess.run(
            ["bash", str(script), *arguments], env=slurm | environment, check=True, capture_output=True, timeout=60
        )
        return (tmp_path / "srun").read_text().split("\0")[:-1]

    return run


def starts(words: list[str]) -> tuple[dict[str, object], list[str]]:
    """The options of `ray symmetric-run`, including those of `ray start`, and the command that the head runs."""
    from ray.scripts.scripts import start
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run

    assert words[:2] == ["ray", "symmetric-run"]
    separator = words.index("--")
    own = words[2:separator]
    options = symmetric_run.make_context("_", list(own)).params
    start_options = start.make_context("_", curate_and_validate_ray_start_args(list(own))).params
    return {**start_options, **options}, words[separator + 1 :]


def test_a_job_on_all_nodes(submit):
    options, command = starts(submit("label", "/data/two words", "/data/ages", "--limit", "5", SLURM_GPUS_ON_NODE="2"))
    assert (options["min_nodes"], options["num_cpus"], options["num_gpus"]) == (2, 16, 2)
    host, _, port = str(options["address"]).partition(":")
    assert host == "node7"
    assert 20_000 <= int(port) < 40_000
    assert command[:2] == ["env", "RAY_ADDRESS=auto"]
    assert job_options(command[2:]) == LabelOptions(
        "/data/two words", "/data/ages", limit=5, cluster=os.environ.get("RAY_ADDRESS")
    )


def test_the_cluster_is_found(submit, monkeypatch):
    _, command = starts(submit("train", "recipe.yaml", "runs/mine"))
    name, _, value = command[1].partition("=")
    monkeypatch.setenv(name, value)
    assert job_options(command[2:]) == TrainOptions("recipe.yaml", "runs/mine", cluster="auto")


def test_every_job_has_a_token_of_its_own(submit, tmp_path):
    tokens = []
    for _ in range(2):
        submit("label", "a", "b")
        lines = (tmp_path / "environment").read_text().split("\0")
        variables = dict(line.split("=", 1) for line in lines if line)
        assert variables["RAY_AUTH_MODE"] == "token"
        tokens.append(variables["RAY_AUTH_TOKEN"])
        assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
        assert re.fullmatch("[0-9a-f]{64}", tokens[-1])
    assert tokens[0] != tokens[1]


def test_without_gpus(submit):
    assert starts(submit("label", "a", "b"))[0]["num_gpus"] == 0


def test_a_missing_job_is_refused(submit):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        submit()
    assert b"which job?" in refused.value.stderr


def test_a_misspelt_option_is_noticed(submit, tmp_path):
    wrong = tmp_path / "wrong.sh"
    wrong.write_text(SCRIPT.read_text().replace("--num-cpus", "--num-cpu-cores"))
    with pytest.raises(click.UsageError):
        starts(submit("label", "a", "b", script=wrong))


def test_the_example_in_its_head():
    [example] = re.findall(r"sbatch cluster/slurm\.sh (.+)", SCRIPT.read_text())
    job, *arguments = example.split()
    assert isinstance(job_options(["python", f"jobs/{job}.py", *arguments]), LabelOptions)


def complaints(text: str) -> list[str]:
    """The problems of a shell script: an approximation of the most important rules of shellcheck."""
    found = []
    code = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not text.startswith("#!/usr/bin/env bash\n"):
        found.append("not started by bash")
    if not code or code[0] != "set -euo pipefail":
        found.append("goes on after failures")
    for line in code:
        quoted = re.sub(r'"[^"]*"', '""', line)
        arithmetic = re.sub(r"\$\(\(.*?\)\)", "", quoted)
        if re.search(r"\$[{A-Za-z0-9@*#]", arithmetic):
            found.append(f"unquoted: {line.strip()}")
        if "`" in line:
            found.append(f"backticks: {line.strip()}")
    if subprocess.run(["bash", "-n"], input=text.encode(), capture_output=True, check=False).returncode:
        found.append("no bash")
    return found


def test_manners():
    assert complaints(SCRIPT.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("#!/usr/bin/env bash", "#!/bin/sh", "not started by bash"),
        ("set -euo pipefail", "set -e", "goes on"),
        ('cd "${SLURM_SUBMIT_DIR}"', "cd ${SLURM_SUBMIT_DIR}", "unquoted"),
        ('"$@"', "$@", "unquoted"),
        ("shift", "here=`pwd`", "backticks"),
        ("shift", "if true", "no bash"),
    ],
)
def test_bad_manners_are_found(old, new, complaint):
    text = SCRIPT.read_text()
    assert old in text
    assert any(complaint in found for found in complaints(text.replace(old, new)))

"""The code in README's section on tables works, after the first publication and after the next."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import boto3
import pytest
from published_rows import MODEL, photograph

from cilf import cli

pytest.importorskip("deltalake")
README = Path(__file__).parents[2] / "README.md"
FIRST, SECOND = (f"2026110{day}T010000Z-aaaaaa" for day in (1, 2))


@pytest.fixture
def section(tmp_path: Path) -> str:
    """The text of the section, adapted to files below this test's folder."""
    text = re.search("^## The labels as an Iceberg or Delta table\n(.*?)^## ", README.read_text(), re.M | re.S)
    assert text is not None
    return text[1].replace("/data/", f"{tmp_path}/data/")


def test_the_section_on_tables(tmp_path, monkeypatch, capsys, write_run, s3_server, section):
    catalogs: Any = pytest.importorskip("pyiceberg.catalog")
    from pyiceberg.utils.config import Config

    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket="my-bucket")
    variables = re.findall(r"^    export (\w+)=(\S+)$", section, re.M)
    assert len(variables) == 2
    for name, value in variables:
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    monkeypatch.setattr(catalogs, "_ENV_CONFIG", Config())
    commands = [shlex.split(line)[1:] for line in re.findall(r"^    (cilf publish .*)$", section, re.M)]
    (program,) = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    assert len(commands) == 2
    for run, numbers in ((FIRST, range(3)), (SECOND, range(3, 5))):
        write_run("OUTPUT", run, [photograph(number) for number in numbers])
        for command in commands:
            capsys.readouterr()
            assert cli.main(command) == 0
            assert f"published {len(numbers)} rows" in capsys.readouterr().out
        exec(compile(program, "README.md", "exec"), {})
        shown = capsys.readouterr().out
        assert f" 3 {FIRST}" in shown
        assert (f" 5 {SECOND}" in shown) == (run == SECOND)
        assert re.search(rf"{MODEL} *│ *ok *│ *3 ", shown)  # as of the first snapshot

"""The code in docs/guides/publish.md works, after the first publication and after the next."""

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
PAGE = Path(__file__).parents[2] / "docs" / "guides" / "publish.md"
FIRST, SECOND = (f"2026110{day}T010000Z-aaaaaa" for day in (1, 2))


@pytest.fixture
def guide(tmp_path: Path) -> str:
    """The text of the page, adapted to files below this test's folder."""
    return PAGE.read_text(encoding="utf-8").replace("/data/", f"{tmp_path}/data/")


def test_the_guide_to_tables(tmp_path, monkeypatch, capsys, write_run, s3_server, guide):
    catalogs: Any = pytest.importorskip("pyiceberg.catalog")
    from pyiceberg.utils.config import Config

    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket="my-bucket")
    variables = re.findall(r"^    export (\w+)=(\S+)$", guide, re.M)
    assert len(variables) == 2
    for name, value in variables:
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    monkeypatch.setattr(catalogs, "_ENV_CONFIG", Config())
    commands = [shlex.split(line)[1:] for line in re.findall(r"^    (cilf publish .*)$", guide, re.M)]
    (program,) = re.findall(r"^```python\n(.*?)^```", guide, re.M | re.S)
    assert len(commands) == 2
    for run, numbers in ((FIRST, range(3)), (SECOND, range(3, 5))):
        write_run("OUTPUT", run, [photograph(number) for number in numbers])
        for command in commands:
            capsys.readouterr()
            assert cli.main(command) == 0
            assert f"published {len(numbers)} rows" in capsys.readouterr().out
        exec(compile(program, "publish.md", "exec"), {})
        shown = capsys.readouterr().out
        assert f" 3 {FIRST}" in shown
        assert (f" 5 {SECOND}" in shown) == (run == SECOND)
        assert re.search(rf"{MODEL} *│ *ok *│ *3 ", shown)  # as of the first snapshot

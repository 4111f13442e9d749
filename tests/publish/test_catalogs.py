"""Stores and catalogs that cannot be used: one message that says what to do, and nothing is written."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from published_rows import photograph

from cilf import cli
from cilf.publishing.s3 import S3Settings, s3_settings
from cilf.storage import filesystem

RUN = "20261101T010000Z-aaaaaa"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def output(tmp_path: Path, write_run: Callable[..., None]) -> str:
    write_run(str(tmp_path / "out"), RUN, [photograph(1)])
    return str(tmp_path / "out")


@pytest.fixture
def stores_anew() -> Iterator[Callable[[], None]]:
    """Store clients are cached for the life of a process; forget those that were made from other variables."""
    import s3fs

    def forget() -> None:
        filesystem.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()

    forget()
    yield forget
    forget()


KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, ["no credentials for s3://nowhere/ages", "set AWS_PROFILE, or AWS_ACCESS_KEY_ID"]),
        (KEYS, ["s3://nowhere/ages does not exist"]),
        (
            {**KEYS, "AWS_ENDPOINT_URL": NOBODY},
            ["the store of s3://nowhere/ages cannot be reached", "check AWS_ENDPOINT_URL and the network"],
        ),
    ],
)
def test_stores_that_cannot_be_used(
    tmp_path, catalog, output, refused, stores_anew, s3_server, monkeypatch, variables, said
):
    from pyiceberg import catalog as module
    from pyiceberg.utils.config import Config

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    alone = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": s3_server}
    warehouse = {"PYICEBERG_CATALOG__DEFAULT__WAREHOUSE": "s3://nowhere/ages"}
    for name, value in {**alone, **warehouse, **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "_ENV_CONFIG", Config())
    for options in (["photos.ages"], ["s3://nowhere/ages", "--format", "delta"]):
        stores_anew()
        line = refused(output, *options)
        for part in said:
            assert part in line


def test_profiles_are_told_to_libraries(tmp_path, output, publish, bucket, s3_server, monkeypatch):
    import s3fs

    root = bucket({})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(
        f"[profile lake]\nregion = eu-west-1\nendpoint_url = {s3_server}\n"
        "aws_access_key_id = key\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lake")
    assert s3_settings() == S3Settings(s3_server, "eu-west-1", ("key", "secret", None))
    assert "published 1 rows" in publish(output, f"{root}/ages", "--format", "delta")
    assert "nothing new" in publish(output, f"{root}/ages", "--format", "delta")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.delenv("AWS_PROFILE")
    assert s3_settings() == S3Settings(None, None, None)
    fs = s3fs.S3FileSystem(endpoint_url=s3_server, key="a", secret="b", use_listings_cache=False)
    assert not fs.exists(f"{root}/ages/.cilf-probe")


def test_a_store_that_may_only_be_read(tmp_path, output, refused, bucket, monkeypatch):
    def refuse(target: Any, _: bytes) -> None:
        raise PermissionError(13, "Access Denied", target.path)

    root = bucket({})
    monkeypatch.setattr("cilf.publishing.s3.write", refuse)
    line = refused(output, f"{root}/ages", "--format", "delta")
    assert f"cannot write to the Delta table: no permission for {root}/ages" in line


@pytest.fixture
def rest_server() -> Iterator[Any]:
    """An HTTP server that answers with its attributes `status` and `body`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(self.server.body)  # type: ignore[attr-defined]

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def opened(
    catalog: Any, output: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """The message about a catalog with these variables, in this process."""
    from pyiceberg import catalog as module
    from pyiceberg.utils.config import Config

    def run(**variables: str) -> str:
        for name in ("URI", "WAREHOUSE", "TYPE"):
            monkeypatch.delenv(f"PYICEBERG_CATALOG__DEFAULT__{name}", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(f"PYICEBERG_CATALOG__DEFAULT__{name}", value)
        monkeypatch.setattr(module, "_ENV_CONFIG", Config())
        line = refused(output)
        assert "(Caused by" not in line
        assert "sqlalche.me" not in line
        return line

    return run


def test_catalogs_that_do_not_answer(opened):
    line = opened(URI=NOBODY)
    assert (
        "nothing answers at its address ([Errno 111] Connection refused): check PYICEBERG_CATALOG__DEFAULT__URI" in line
    )
    assert "nothing answers at its address" in opened(URI="http://no-such-host.invalid:8181")


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (401, b'{"error": {"message": "no token", "type": "NotAuthorizedException", "code": 401}}', "CREDENTIAL or"),
        (403, b'{"error": {"message": "no", "type": "ForbiddenException", "code": 403}}', "CREDENTIAL or"),
        (404, b"not found", "is not an Iceberg REST catalog"),
        (200, b"<html>", "is not an Iceberg REST catalog"),
        (500, b"", "try again later"),
        (503, b"", "try again later"),
    ],
)
def test_catalogs_that_answer_something_else(opened, rest_server, status, body, advice):
    rest_server.status, rest_server.body = status, body
    assert advice in opened(URI=f"http://127.0.0.1:{rest_server.server_port}")


def test_catalogs_that_are_described_wrongly(tmp_path, opened):
    assert "has no such catalog: describe it in ~/.pyiceberg.yaml" in opened()
    assert "describe it in" in opened(URI="catalog.db")
    assert "describe it in" in opened(TYPE="bogus")
    line = opened(URI="sqlite:////no/such/folder/catalog.db", WAREHOUSE=str(tmp_path))
    assert "its database cannot be used (unable to open database file)" in line
    (tmp_path / "text.db").write_text("text" * 1000)
    assert "file is not a database" in opened(URI=f"sqlite:///{tmp_path}/text.db", WAREHOUSE=str(tmp_path))


@pytest.mark.parametrize(
    ("warehouse", "problem"),
    [
        (None, "set PYICEBERG_CATALOG__DEFAULT__WAREHOUSE"),
        ("file:///proc/nowhere", "cannot write to the warehouse"),
        ("file:///tmp/a#b", "pyiceberg cuts paths at # and ?"),
        ("file:///tmp/a?b", "pyiceberg cuts paths at # and ?"),
    ],
)
def test_warehouses_that_cannot_be_used(tmp_path, opened, warehouse, problem):
    named = {"WAREHOUSE": warehouse} if warehouse else {}
    assert problem in opened(URI=f"sqlite:///{tmp_path}/new.db", **named)


@pytest.mark.parametrize("name", ["a b", "a%20b", "[x]", "it's", "grüße"])
def test_warehouses_of_any_name(tmp_path, catalog, output, publish, monkeypatch, name):
    from pyiceberg import catalog as module
    from pyiceberg.utils.config import Config

    (tmp_path / name).mkdir()
    monkeypatch.setenv("PYICEBERG_CATALOG__DEFAULT__WAREHOUSE", f"file://{tmp_path}/{name}")
    monkeypatch.setattr(module, "_ENV_CONFIG", Config())
    assert "published 1 rows" in publish(output)
    assert list((tmp_path / name).rglob("*.parquet"))
    assert module.load_catalog("default").load_table("photos.ages").scan().count() == 1


def test_a_warehouse_on_s3(tmp_path, catalog, output, publish, bucket, monkeypatch):
    """The store that the usual AWS variables name, and not Amazon's."""
    import s3fs
    from pyiceberg import catalog as module
    from pyiceberg.utils.config import Config

    root = bucket({})
    monkeypatch.setenv("PYICEBERG_CATALOG__DEFAULT__WAREHOUSE", f"{root}/lake")
    monkeypatch.setattr(module, "_ENV_CONFIG", Config())
    assert "published 1 rows" in publish(output)
    assert "nothing new" in publish(output)
    assert s3fs.S3FileSystem(use_listings_cache=False).glob(f"{root}/lake/**/*.parquet")


def test_a_commit_that_ended_with_an_error_counts(catalog, output, publish, monkeypatch):
    from pyiceberg.table import Transaction

    real = Transaction.commit_transaction

    def failing(self: Transaction) -> None:
        real(self)
        raise ConnectionError("the catalog closed the connection")

    monkeypatch.setattr(Transaction, "commit_transaction", failing)
    assert "has 1 rows as of snapshot" in publish(output)
    assert catalog.load_table("photos.ages").scan().count() == 1


@pytest.mark.parametrize("readable", [True, False])
def test_a_commit_that_failed(catalog, output, publish, refused, write_run, monkeypatch, readable):
    from pyiceberg.table import Transaction

    from cilf.publishing import iceberg

    publish(output)
    write_run(output, "20261102T010000Z-aaaaaa", [photograph(2)])

    def failing(*_: Any) -> None:
        if not readable:
            monkeypatch.setattr(iceberg.IcebergMirror, "_found", failing)
        raise ConnectionError("the catalog closed the connection")

    monkeypatch.setattr(Transaction, "commit_transaction", failing)
    line = refused(output, code=cli.FAILED)
    assert "the catalog closed the connection" in line
    assert ("nothing was committed" in line) == readable
    assert ("repeat the command to find out" in line) != readable

from pathlib import Path

import pytest

from cilf import storage
from cilf.card import CARD_FILE, WEIGHTS_FILE
from cilf.errors import UsageError
from cilf.storage import check_output, files, is_bundled, lies_inside, locate, model_folder, remove, write, write_all


@pytest.mark.parametrize(
    ("url", "path", "recorded"),
    [
        ("/a/b c%20#?.jpg", "/a/b c%20#?.jpg", "/a/b c%20#?.jpg"),
        ("file:///a/%20/", "/a/%20", "/a/%20"),
        ("s3://bucket/a b/c%20+#?[x]", "bucket/a b/c%20+#?[x]", "s3://bucket/a b/c%20+#?[x]"),
        ("S3://bucket/", "bucket", "s3://bucket"),
        ("s3a://bucket/a", "bucket/a", "s3://bucket/a"),
        (" s3n://bucket/a ", "bucket/a", "s3://bucket/a"),
        ("file:/a", "/a", "/a"),
        ("FILE://localhost/a", "/a", "/a"),
    ],
)
def test_urls_are_taken_as_they_stand(url, path, recorded):
    location = locate(url)
    assert (location.path, location.url) == (path, recorded)
    assert (location / "x.parquet").url == f"{recorded}/x.parquet"


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("a/../b").url == f"{tmp_path}/b"


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    target = locate(str(tmp_path / "deep" / "x.parquet"))
    write(target, b"old")
    replace = Path.replace

    def crash(self: Path, to: Path) -> Path:
        raise OSError("the power went out")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OSError, match="power"):
        write(target, b"new")
    monkeypatch.setattr(Path, "replace", replace)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.parquet"]
    assert Path(target.path).read_bytes() == b"old"


def test_files_are_listed_without_hidden_ones(tmp_path, bucket):
    for folder in (locate(str(tmp_path)), locate(bucket({"other/a.parquet": b""})) / "p"):
        for name in ("b.parquet", "a.parquet", ".c.parquet", "d.txt"):
            write(folder / name, b"x")
        write(folder / "below" / "e.parquet", b"x")
        assert [file.url for file in files(folder, ".parquet")] == [
            f"{folder.url}/a.parquet",
            f"{folder.url}/b.parquet",
        ]
        remove(folder / "a.parquet")
        assert [file.url for file in files(folder, ".parquet")] == [f"{folder.url}/b.parquet"]
        assert files(folder / "nowhere", ".parquet") == []


def test_a_model_is_downloaded_once_per_version(bucket, model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    weights, card = ((model_folder / name).read_bytes() for name in (WEIGHTS_FILE, CARD_FILE))
    url = bucket({f"m/{WEIGHTS_FILE}": weights, f"m/{CARD_FILE}": card}) + "/m"
    first = storage.model_folder(url)
    assert (first / WEIGHTS_FILE).read_bytes() == weights
    assert (first / CARD_FILE).read_bytes() == card
    assert storage.model_folder(url) == first
    write(locate(url) / WEIGHTS_FILE, weights + b"!")
    second = storage.model_folder(url)
    assert second != first
    assert (second / WEIGHTS_FILE).read_bytes() == weights + b"!"
    assert {path.name for path in (tmp_path / "cilf" / "models").iterdir()} == {first.name, second.name}


def test_a_model_url_without_model(bucket):
    with pytest.raises(UsageError, match="cannot get model s3://"):
        model_folder(bucket({"a": b""}) + "/m")


def test_a_models_name_is_not_a_path(tmp_path):
    assert not is_bundled("../cilf")
    with pytest.raises(UsageError, match="bundled: "):
        model_folder("no-such-model")
    assert model_folder(str(tmp_path)) == tmp_path


def test_files_that_cannot_be_written_are_named(tmp_path):
    write_all(locate(str(tmp_path / "out")), {"a.md": b"a", "b.csv": b"b"})
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.md", "b.csv"]
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match=r"cannot write a\.md, b\.csv: .*file"):
        write_all(locate(str(tmp_path / "file")), {"a.md": b"a", "b.csv": b"b"})


def test_an_output_where_nothing_can_be_deleted(tmp_path, monkeypatch):
    def refuse(target):
        raise PermissionError(13, "Permission denied", target.path)

    check_output(locate(f"{tmp_path}/out"))
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(storage, "remove", refuse)
    with pytest.raises(UsageError, match="cannot use MANIFEST: CILF also needs to delete there: no permission"):
        check_output(locate(f"{tmp_path}/out"), "MANIFEST")


@pytest.mark.parametrize(
    "url", ["https://x/y", "hdfs://x/y", "dbfs:/x", "s3:/b/x", "C:\\x", "\\\\host\\x", "file://host/x"]
)
def test_a_place_that_cannot_be_opened(url):
    with pytest.raises(UsageError, match=r"cannot (be opened|open)|Windows|another machine"):
        locate(url)


def test_what_lies_inside_of_what(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("in/deep")
    (tmp_path / "all").symlink_to("in")
    (tmp_path / "inner").mkdir()
    inside = ["in", "in/", "in/gone/x", "link", "link/gone", "all", "in/../in/x", "../{0}/in"]
    for name in inside:
        place = f"{tmp_path}/{name}".format(tmp_path.name)
        for folder in (f"{tmp_path}/in", f"file://{tmp_path}/all/", f"{tmp_path}/all"):
            assert lies_inside(locate(place), locate(folder)), (place, folder)
    (tmp_path / "circle").symlink_to("circle")
    for name in ("inner", "gone", ".", "in.d", "circle"):
        assert not lies_inside(locate(f"{tmp_path}/{name}"), locate(f"{tmp_path}/in"))
    assert lies_inside(locate("s3a://b/p/x"), locate("S3://b/p/"))
    assert lies_inside(locate("s3://b/p"), locate("s3://b"))
    assert not lies_inside(locate("s3://b/p2"), locate("s3://b/p"))
    assert not lies_inside(locate(str(tmp_path)), locate("s3://b"))


def test_one_folder_under_two_names(tmp_path, monkeypatch):
    """This happens with a folder that is mounted twice, or on a file system that ignores case."""
    (tmp_path / "in").mkdir()
    (tmp_path / "IN").mkdir()
    number = (tmp_path / "in").stat()
    truly = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **how: number if self.name == "IN" else truly(self, **how))
    assert lies_inside(locate(f"{tmp_path}/IN/out"), locate(f"{tmp_path}/in"))

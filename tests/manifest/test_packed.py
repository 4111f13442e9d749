"""Images in tars and in Parquet files: listed, and read by the URIs in the listing."""

import io
import random
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cilf import schema
from cilf.errors import UsageError
from cilf.images.fetch import FetchError, fetch
from cilf.images.packed import member_uri
from cilf.manifest import packed
from cilf.manifest.listing import check_input, is_manifest, objects
from cilf.storage import Location, locate

MEMBERS = {
    "a.jpg": b"first",
    "deep/" * 40 + "long name #1 100%.PNG": b"second" * 200,
    "grüße.webp": b"",
    "no suffix": b"fourth",
    "._a.jpg": b"fifth",
}
BESIDE = {"a.json": b"{}", "a.txt": b"a caption", "grüße.npy": b"\0" * 2000}


def tar(members: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    return buffer.getvalue()


def header(**about: object) -> bytes:
    member = tarfile.TarInfo("5.jpg")
    for name, value in about.items():
        setattr(member, name, value)
    return member.tobuf(tarfile.GNU_FORMAT)


def extended_sparse_header() -> bytes:
    """The header of an old GNU sparse file whose map continues in a block that does not exist."""
    block = bytearray(header(type=tarfile.GNUTYPE_SPARSE))
    block[482] = 1  # isextended
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def listed(source: str) -> pa.Table:
    check_input(locate(source))
    assert is_manifest(locate(source))
    table = pa.concat_tables(objects(locate(source)))
    assert table.schema.equals(schema.MANIFEST)
    return table


def read(table: pa.Table, max_bytes: int = 10_000_000) -> list[bytes | FetchError]:
    return fetch(table["uri"].to_pylist(), table["bytes"].to_pylist(), max_bytes)


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_images_in_a_tar(tmp_path, kind):
    members = MEMBERS if kind != tarfile.USTAR_FORMAT else {name: MEMBERS[name] for name in ("a.jpg", "no suffix")}
    (tmp_path / "odd #1:2 %.tar").write_bytes(tar({**BESIDE, **members, **BESIDE}, kind))
    table = listed(f"{tmp_path}/odd #1:2 %.tar")
    assert read(table) == list(members.values())
    assert table["bytes"].to_pylist() == [len(data) for data in members.values()]
    names = [uri.rpartition("#")[2].partition("/")[2] for uri in table["uri"].to_pylist()]
    assert [name.replace("%23", "#").replace("%25", "%") for name in names] == list(members)
    assert len(set(table["id"].to_pylist())) == len(members)


def test_several_tars_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "_AHEAD", 2)
    for number in range(5):
        (tmp_path / f"{number}.tar").write_bytes(tar({f"{number}.jpg": bytes([number])}))
    (tmp_path / ".9.tar").write_bytes(b"hidden")
    (tmp_path / "8.tar").mkdir()
    assert read(listed(f"{tmp_path}/*.tar")) == [bytes([number]) for number in range(5)]
    assert read(listed(f"{tmp_path}/3*.tar")) == [b"\3"]
    with pytest.raises(UsageError, match="no file matches"):
        check_input(locate(f"{tmp_path}/x*.tar"))


def test_tars_one_behind_the_other_and_links_in_them(tmp_path):
    links = io.BytesIO()
    with tarfile.open(fileobj=links, mode="w") as archive:
        first, hard, soft = (tarfile.TarInfo(name) for name in ("a.jpg", "hard.jpg", "soft.jpg"))
        first.size, hard.type, soft.type = 5, tarfile.LNKTYPE, tarfile.SYMTYPE
        hard.linkname = soft.linkname = "a.jpg"
        for member in (first, hard, soft):
            archive.addfile(member, io.BytesIO(b"first"))
    (tmp_path / "x.tar").write_bytes(links.getvalue() + tar({"b.jpg": b"second"}) + bytes(1 << 21) + tar({"c": b"3"}))
    assert read(listed(f"{tmp_path}/x.tar")) == [b"first", b"first", b"first", b"second", b"3"]


def linked(links: dict[str, tuple[bytes, str]], files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar with links before their targets."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for name, (link, target) in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = link, target
            archive.addfile(member)
    return buffer.getvalue() + tar(files, kind)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_links_in_a_tar_are_what_they_lead_to(tmp_path, kind):
    far = "d/" * 60 + "far.jpg"
    links = {
        "hard.jpg": (tarfile.LNKTYPE, "./d/a.jpg"),
        "soft.jpg": (tarfile.SYMTYPE, "d/a.jpg"),
        "d/up.jpg": (tarfile.SYMTYPE, "../d/a.jpg"),
        "of a link.jpg": (tarfile.SYMTYPE, "soft.jpg"),
        "by a folder.jpg": (tarfile.SYMTYPE, "folder/a.jpg"),
        "folder": (tarfile.SYMTYPE, "./d"),
        "n" * 150 + ".jpg": (tarfile.SYMTYPE, far),
    }
    broken = {
        "nowhere.jpg": (tarfile.SYMTYPE, "gone.jpg"),
        "out.jpg": (tarfile.SYMTYPE, "../../etc/passwd"),
        "absolute.jpg": (tarfile.SYMTYPE, "/d/a.jpg"),
        "hard and nowhere.jpg": (tarfile.LNKTYPE, "gone.jpg"),
        "circle.jpg": (tarfile.SYMTYPE, "circle back.jpg"),
        "circle back.jpg": (tarfile.SYMTYPE, "circle.jpg"),
    }
    (tmp_path / "x.tar").write_bytes(
        linked(links | broken, {"./d/a.jpg": b"photo", far: b"far", "./a.json": b""}, kind)
    )
    table = listed(f"{tmp_path}/x.tar")
    *followed, photo, distant = read(table)
    whole, nowhere = followed[: len(links) - 1], followed[len(links) - 1 :]
    assert [*whole, photo, distant] == [b"photo"] * 5 + [b"far", b"photo", b"far"]
    assert table["bytes"].to_pylist() == [5] * 5 + [3] + [0] * len(broken) + [5, 3]
    assert len(nowhere) == len(broken)
    assert {(a.status, a.reason) for a in nowhere} == {("missing", "a link, and what it leads to is not in the tar")}


SPARSE = b"begin".ljust(1024, b"\1") + bytes(40 * 512) + b"end".ljust(512, b"\2") + bytes(512)
MAP = [(0, 1024), (1024 + 40 * 512, 512), (len(SPARSE), 0)]
STORED = SPARSE[:1024] + SPARSE[1024 + 40 * 512 :][:512]


def sparse_member(version: str) -> bytes:
    """A member with the contents SPARSE, as the versions of GNU tar write it; a header without a checksum gets one."""
    if version == "old GNU":
        block = bytearray(header(type=tarfile.GNUTYPE_SPARSE, size=len(STORED)))
        places = b"".join(b"%011o\0" % number for part in MAP for number in part)
        block[386 : 386 + len(places)] = places
        block[483:495] = b"%011o\0" % len(SPARSE)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block) + STORED
    size = {"GNU.sparse.size": str(len(SPARSE)), "GNU.sparse.numblocks": str(len(MAP))}
    data = STORED
    if version == "0.1":
        size["GNU.sparse.map"] = ",".join(str(number) for part in MAP for number in part)
    else:
        size = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(len(SPARSE))}
        numbers = "".join(f"{number}\n" for number in (len(MAP), *(number for part in MAP for number in part)))
        data = numbers.encode().ljust(512, b"\0") + STORED
    member = tarfile.TarInfo("GNUSparseFile.0/x.jpg")
    member.size, member.pax_headers = len(data), {"GNU.sparse.name": "x.jpg", **size}
    return member.tobuf(tarfile.PAX_FORMAT) + data


def sized_by_pax() -> bytes:
    """A member of 700 bytes whose own header says 0, after two blocks of headers."""
    member = tarfile.TarInfo("x.jpg")
    member.pax_headers = {"size": "700", "comment": "c" * 600}
    return member.tobuf(tarfile.PAX_FORMAT) + b"7" * 700 + bytes(324)


@pytest.mark.parametrize("where", ["disk", "S3"])
def test_members_that_are_not_as_their_header_says(where, tmp_path, bucket):
    members = [*map(sparse_member, ("old GNU", "0.1", "1.0")), sized_by_pax()]
    whole = tar({"first.jpg": b"1"}) + b"".join(members) + tar({"last.jpg": b"2"})
    (tmp_path / "x.tar").write_bytes(whole)
    table = listed(f"{tmp_path}/x.tar" if where == "disk" else f"{bucket({'x.tar': whole})}/x.tar")
    wanted = [b"1", SPARSE, SPARSE, SPARSE, b"7" * 700, b"2"]
    assert read(table) == wanted
    assert table["bytes"].to_pylist() == list(map(len, wanted))
    uris = table["uri"].to_pylist()
    assert [a.status if isinstance(a, FetchError) else a for a in fetch(uris, [None] * 6, 5000)] == [
        b"1",
        *["too_large"] * 3,
        b"7" * 700,
        b"2",
    ]


def test_a_sparse_member_that_is_cut_short(tmp_path):
    file = tmp_path / "x.tar"
    file.write_bytes(sparse_member("1.0") + bytes(1024))
    before = listed(str(file))
    file.write_bytes(file.read_bytes()[:2000])
    assert [a.status for a in read(before)] == ["unreadable"]
    odd = [f"tar+file://{file}#0+{headers}:700/x.jpg" for headers in (0, 511, 1 << 21, 1536)]
    assert {a.status for a in fetch(odd, [None] * 4, 10**7)} == {"unreadable"}


def test_a_member_of_9_gigabytes(tmp_path):
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with (tmp_path / f"{kind}.tar").open("wb") as file:
            big, small = tarfile.TarInfo("big.jpg"), tarfile.TarInfo("small.jpg")
            big.size, small.size = 9 << 30, 3
            file.write(big.tobuf(kind))
            file.seek(9 << 30, io.SEEK_CUR)
            file.write(small.tobuf(kind) + b"abc".ljust(512, b"\0") + bytes(1024))
        table = listed(f"{tmp_path}/{kind}.tar")
        too_large, found = read(table)
        assert (too_large.status, found) == ("too_large", b"abc")
        assert table["bytes"].to_pylist() == [9 << 30, 3]


def test_one_file_that_cannot_be_opened_costs_itself(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar({"a.jpg": b"1"}))
    (tmp_path / "b.tar").symlink_to(tmp_path / "gone")
    (tmp_path / "c.tar").symlink_to(tmp_path)
    (tmp_path / "d.tar").write_bytes(tar({"d.jpg": b"4"}))
    assert [getattr(a, "status", a) for a in read(listed(f"{tmp_path}/*.tar"))] == [
        b"1",
        "unreadable",
        "unreadable",
        b"4",
    ]
    pq.write_table(pa.table({"image": [b"1"]}), tmp_path / "b.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-9])
    (tmp_path / "c.parquet").symlink_to(tmp_path / "gone")
    pq.write_table(pa.table({"image": pa.array([], pa.large_binary())}), tmp_path / "e.parquet")
    assert [getattr(a, "status", a) for a in read(listed(f"{tmp_path}/*.parquet"))] == [
        "unreadable",
        b"1",
        "unreadable",
    ]


@pytest.mark.parametrize("name", ["img", "Image", "photo"])
def test_each_parquet_file_names_its_images_in_its_own_way(tmp_path, name):
    pq.write_table(pa.table({"image": [b"1", b"2"]}), tmp_path / "a.parquet")
    pq.write_table(
        pa.table({name: [{"bytes": b"3", "path": "x"}, {"bytes": b"4", "path": "y"}]}), tmp_path / "b.parquet"
    )
    pq.write_table(pa.table({"png": [b"5"], "jpg": [b"no"], "image": [b"6"]}), tmp_path / "c.parquet")
    pq.write_table(pa.table({"image": pa.nulls(1), "note": ["no photograph"]}), tmp_path / "d.parquet")
    answers = read(listed(f"{tmp_path}/*.parquet"))
    assert [getattr(answer, "status", answer) for answer in answers] == [b"1", b"2", b"3", b"4", b"6", "missing"]


@pytest.mark.parametrize(
    "columns",
    [
        {"uri": ["/x.jpg"]},
        {"uri": ["/x.jpg"], "image": [b"1"]},
        {"image": ["a path"]},
        {"sound": [b"1"]},
        {"jpg": [b"1"], "png": [b"2"]},
    ],
)
def test_parquet_files_of_which_only_some_hold_images_are_refused(tmp_path, columns):
    pq.write_table(pa.table({"image": [b"1"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table(columns), tmp_path / "b.parquet")
    with pytest.raises(UsageError, match=r"b\.parquet and .*a\.parquet differ: .* `image`"):
        check_input(locate(f"{tmp_path}/*.parquet"))


def test_a_folder_that_is_called_a_tar_is_a_folder(tmp_path):
    (tmp_path / "x.tar").mkdir()
    (tmp_path / "x.tar" / "a.jpg").write_bytes(b"a")
    assert not is_manifest(locate(f"{tmp_path}/x.tar"))
    assert read(pa.concat_tables(objects(locate(f"{tmp_path}/x.tar")))) == [b"a"]


def test_a_file_that_has_a_star_in_its_name(tmp_path):
    (tmp_path / "a*.tar").write_bytes(tar({"1.jpg": b"1"}))
    (tmp_path / "ab.tar").write_bytes(tar({"2.jpg": b"2"}))
    assert read(listed(f"{tmp_path}/a*.tar")) == [b"1"]


@pytest.mark.parametrize("struct", [False, True])
def test_images_in_parquet(tmp_path, struct):
    images = [bytes([number]) * number for number in range(100)]
    column = [{"bytes": data, "path": "x.jpg"} for data in images] if struct else images
    rows = pa.table({"image": pa.array(column), "width": range(100), "sound": images})
    for name in ("a", "b"):
        pq.write_table(rows, tmp_path / f"{name}.parquet", row_group_size=7)
    table = listed(f"{tmp_path}/*.parquet")
    assert read(table) == images * 2
    some = random.Random(5).choices(range(200), k=50)
    assert read(table.take(some)) == [(images * 2)[place] for place in some]
    assert [a.status if isinstance(a, FetchError) else a for a in read(table.slice(98, 2), 98)] == [
        images[98],
        "too_large",
    ]


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary_view(),
        pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())]),
        pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())]),
        pa.dictionary(pa.int32(), pa.binary()),
        pa.binary(3),
        pa.struct([("bytes", pa.binary(3))]),
    ],
    ids=str,
)
def test_bytes_of_every_type_are_images(tmp_path, kind):
    images = [b"one", b"two", b"one"]
    values = [{"bytes": data} for data in images] if pa.types.is_struct(kind) else images
    column = pa.array(values, kind.value_type).cast(kind) if pa.types.is_dictionary(kind) else pa.array(values, kind)
    pq.write_table(pa.table({"image": column}), tmp_path / "x.parquet")
    assert pq.read_schema(tmp_path / "x.parquet").field("image").type == kind
    assert read(listed(f"{tmp_path}/x.parquet")) == images


def test_which_parquet_files_hold_images(tmp_path):
    file = tmp_path / "x.parquet"
    pq.write_table(pa.table({"photo": [b"1"], "caption": ["a"]}), file)
    assert read(listed(str(file))) == [b"1"]
    pq.write_table(pa.table({"sound": [b"1"], "path": ["a.jpg"]}), file)
    with pytest.raises(UsageError, match=r"no column `uri` and no column of images \(its columns: sound, path\)"):
        check_input(locate(str(file)))
    pq.write_table(pa.table({"image": [b"1"], "uri": ["/a.jpg"]}), file)
    assert pa.concat_tables(objects(locate(str(file))))["uri"].to_pylist() == ["/a.jpg"]


def test_an_image_that_is_not_there(tmp_path):
    pq.write_table(pa.table({"image": pa.array([b"1", None])}), tmp_path / "x.parquet")
    table = listed(f"{tmp_path}/x.parquet")
    pq.write_table(pa.table({"image": [b"1"]}), tmp_path / "y.parquet")
    uris = [*table["uri"].to_pylist(), f"parquet+file://{tmp_path}/y.parquet#1/image", "parquet+file:///gone#0/image"]
    odd = ["parquet+file:///x", f"tar+file://{tmp_path}/x.parquet", f"tar+file://{tmp_path}/x.parquet#0:1/a"]
    answers = fetch([*uris, *odd, "zip+file:///x"], [None] * 8, 100)
    found = [answer.status if isinstance(answer, FetchError) else answer for answer in answers]
    assert found == [b"1", "missing", "missing", "missing", *["unreadable"] * 3, "unavailable"]


def test_on_s3(bucket):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": list(MEMBERS.values())}), buffer)
    keys = {"s/0 #.tar": tar(MEMBERS), "s/1.tar": tar({"x.jpg": b"x"}), "s/a//b.tar": tar({"y.jpg": b"y"})}
    url = bucket({**keys, "s/p.parquet": buffer.getvalue(), "s/other": b""})
    table = listed(f"{url}/s/*.tar")
    assert read(table) == [*MEMBERS.values(), b"x"]
    assert table["uri"][0].as_py().startswith(f"tar+{url}/s/0 #.tar#")
    assert None not in table["etag"].to_pylist() + table["modified"].to_pylist()
    assert read(listed(f"{url}/s/a//b.tar")) == [b"y"]  # a key that obstore cannot request
    assert read(listed(f"{url}/s/p.parquet")) == list(MEMBERS.values())
    assert fetch([member_uri(f"{url}/s/gone.tar", 512, 1, "x")], [None], 10)[0].status == "missing"
    assert fetch([member_uri(f"{url}/s/1.tar", 10**6, 1, "x")], [None], 10)[0].status == "unreadable"  # is shorter


def test_in_any_other_store(monkeypatch):
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/x.tar": tar(MEMBERS)})
    monkeypatch.setattr("cilf.images.fetch.filesystem", lambda scheme: memory)
    table = pa.concat_tables(objects(Location("gs", memory, "/bucket/x.tar")))
    assert read(table) == list(MEMBERS.values())


def test_a_tar_that_changes(tmp_path):
    file = tmp_path / "x.tar"
    file.write_bytes(tar({"a.jpg": b"1" * 600, "b.jpg": b"2"}))
    before = listed(str(file))
    file.write_bytes(tar({"a.jpg": b"1" * 600, "c.jpg": b"345"}))
    good, changed = read(before)
    assert good == b"1" * 600
    assert (changed.status, "changed" in changed.reason) == ("unreadable", True)
    assert not set(listed(str(file))["id"].to_pylist()) & set(before["id"].to_pylist())


def test_a_damaged_tar_keeps_what_is_before_the_damage_and_counts_itself(tmp_path):
    whole = tar({f"{number}.jpg": bytes([number]) * 1000 for number in range(10)})
    for name, data in {
        "cut in a header": whole[: 5 * 1536 + 100],
        "cut in a member": whole[: 5 * 1536 + 700],
        "overwritten": whole[: 5 * 1536] + b"x" * 512 + whole[5 * 1536 + 512 :],
        "cut before a header": whole[: 5 * 1536],
        "a hole": whole[: 5 * 1536] + bytes(512) + whole[5 * 1536 + 512 :],
        "claims to be endless": whole[: 5 * 1536] + header(size=2**70) + whole[5 * 1536 + 512 :],
        "claims to be less than nothing": whole[: 5 * 1536] + header(size=-100) + whole[5 * 1536 + 512 :],
        "claims a long name": whole[: 5 * 1536] + header(size=2**33, type=tarfile.GNUTYPE_LONGNAME) + whole,
        "a sparse file's map is cut": whole[: 5 * 1536] + extended_sparse_header(),
        "no tar": b"words" * 500,
        "compressed": b"\x1f\x8b" + bytes(1000),
    }.items():
        file = tmp_path / f"{name}.tar"
        file.write_bytes(data)
        *found, itself = listed(str(file))["uri"].to_pylist()
        assert itself == f"tar+file://{file}"
        (about,) = fetch([itself], [None], 10)
        assert about.status == "unreadable"
        assert "damaged" in about.reason
        assert len(found) == {"cut in a member": 6, "no tar": 0, "compressed": 0}.get(name, 5)
        for number, answer in enumerate(fetch(found, [None] * len(found), 10_000)):
            assert getattr(answer, "status", answer) == ("unreadable" if number == 5 else bytes([number]) * 1000)


def test_a_damaged_row_group_costs_its_own_rows(tmp_path):
    file = tmp_path / "x.parquet"
    images = [bytes([number]) * 1000 for number in range(40)]
    pq.write_table(pa.table({"image": images}), file, row_group_size=10, use_dictionary=False)
    data = bytearray(file.read_bytes())
    page = pq.read_metadata(file).row_group(1).column(0).data_page_offset
    data[page : page + 300] = bytes(300)
    file.write_bytes(data)
    answers = read(listed(str(file)))
    assert [answer for answer in answers if isinstance(answer, bytes)] == images[:10] + images[20:]
    assert {answer.status for answer in answers[10:20]} == {"unreadable"}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 6 * 512 - 1), st.integers(0, 255)), min_size=1, max_size=12))
def test_any_damage_is_survived(tmp_path, flips):
    data = bytearray(tar({"a.jpg": b"1" * 20, "b" * 120 + ".jpg": b"2" * 20}))
    for place, value in flips:
        data[place] = value
    file = tmp_path / "x.tar"
    file.write_bytes(data)
    table = listed(str(file))
    assert len(read(table, 1000)) == len(table) <= 3

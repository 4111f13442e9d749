"""Files whose first image is a preview, which are read from their picture; files that are no photographs are named."""

import itertools
import struct
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image
from test_decode import PLENTY, encoded

from cilf.images.decode import DecodeError, read

CFA, LINEAR_RAW, RGB, GREY = 32803, 34892, 2, 1
REDUCED, MASK = 1, 4


def directory(width: int, height: int, colour: int = RGB, **more: object) -> dict[int, object]:
    """Tags of an uncompressed image with one strip."""
    known = {"kind": 254, "old_kind": 255, "compression": 259, "make": 271, "orientation": 274, "dng": 50706}
    samples = 3 if colour == RGB else 1
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: colour, 277: samples, 278: height}
    return tags | {279: width * height * samples} | {known[name]: value for name, value in more.items()}


def tiff(*pages: tuple[dict, ...], order: str = "<", big: bool = False, at_8: bytes = b"") -> bytes:
    """A TIFF of pages, each a directory with its sub-directories; every image has a single grey level, the first 40."""
    offset, count = ("Q", "Q") if big else ("L", "H")
    sign = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}H", 43 if big else 42)
    out = bytearray(sign + (struct.pack(f"{order}HHQ", 8, 0, 0) if big else bytes(4)) + at_8)
    link = len(sign) + (4 if big else 0)
    level = 40
    for page, *belonging in pages:
        places = []
        for tags in [*belonging, page]:
            strip = len(out)
            out += bytes([level]) * tags[279]
            level += 40
            full = tags | {273: strip} | ({330: places} if tags is page and places else {})
            places.append(len(out))
            out += written(full, len(out), order, offset, count)
        out[link : link + struct.calcsize(order + offset)] = struct.pack(order + offset, places[-1])
        link = places[-1] + struct.calcsize(order + count) + len(full) * (20 if big else 12)
    return bytes(out)


def written(tags: dict[int, object], at: int, order: str, offset: str, count: str) -> bytes:
    """A directory, followed by the values that do not fit into it."""
    room = struct.calcsize(order + offset)
    entries, outside = b"", b""
    behind = at + struct.calcsize(order + count) + len(tags) * (4 + 2 * room) + room
    for tag, value in sorted(tags.items()):
        if isinstance(value, bytes):
            kind, number, stored = (1 if tag == 50706 else 2), len(value), value
        else:
            values = value if isinstance(value, list) else [value]
            kind, number, stored = 4, len(values), struct.pack(f"{order}{len(values)}L", *values)
        if len(stored) > room:
            stored, outside = struct.pack(order + offset, behind + len(outside)), outside + stored
        entries += struct.pack(f"{order}HH{offset}", tag, kind, number) + stored.ljust(room, b"\0")
    return struct.pack(order + count, len(tags)) + entries + bytes(room) + outside


def reason(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        read(data, 1, PLENTY)
    assert caught.value.status == "unreadable"
    return caught.value.reason


PREVIEW = {"kind": REDUCED, "make": b"NIKON CORPORATION\0"}
SENSOR = directory(160, 120, CFA)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (tiff((directory(16, 12, **PREVIEW), SENSOR)), "NEF"),
        (tiff((directory(16, 12, **PREVIEW), SENSOR), order=">"), "NEF"),
        (tiff((directory(16, 12, **PREVIEW), SENSOR), big=True), "NEF"),
        (tiff((directory(16, 12, **PREVIEW), SENSOR), order=">", big=True), "NEF"),
        (tiff((directory(16, 12, kind=REDUCED, make=b"SONY\0"), directory(160, 120, compression=32767))), "ARW"),
        (tiff((directory(16, 12, make=b"SAMSUNG\0"), directory(16, 12), SENSOR)), "SRW"),
        (tiff((directory(16, 12, kind=REDUCED, make=b"Hasselblad\0"), SENSOR)), "3FR"),
        (tiff((directory(16, 12, kind=REDUCED, make=b"Unheard of\0"),), (SENSOR,)), "of an unknown camera"),
        (tiff((directory(160, 120, CFA, compression=65535, make=b"PENTAX\0"),), (directory(16, 12),)), "PEF"),
        (tiff((directory(16, 12, kind=REDUCED, dng=bytes([1, 4, 0, 0])), directory(160, 120, LINEAR_RAW))), "DNG"),
        (tiff((directory(160, 120, make=b"NIKON\0"), SENSOR)), "NEF"),
        (tiff((directory(160, 120, make=b"SONY\0"), directory(150, 112, CFA))), "ARW"),
        (tiff((directory(160, 120),), (directory(80, 60, CFA),)), "of an unknown camera"),
        (tiff((directory(160, 120), directory(160, 120, LINEAR_RAW))), "of an unknown camera"),
        (tiff((directory(160, 120, make=b"PENTAX\0"), directory(160, 120, compression=65535))), "PEF"),
        (tiff((directory(16, 12),), (directory(8, 6),), at_8=b"CR\2\0"), "CR2"),
        (tiff((directory(16, 12),), at_8=b"IIII\x03\0waR"), "IIQ"),
        (b"IIRO\x08\0\0\0" + bytes(99), "ORF"),
        (b"IIU\0\x18\0\0\0" + bytes(99), "RW2"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(99), "RAF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(99), "CR3"),
        (b"FOVb\0\0\2\0" + bytes(99), "X3F"),
        (b"\0MRM\0\0\0\0" + bytes(99), "MRW"),
    ],
)
def test_raw_camera_files_are_named(data, kind):
    assert reason(data) == f"a raw camera file ({kind}), which is not read here"


def test_raw_files_are_not_mistaken_for_their_jpeg_preview():
    """The preview of the first directory is a whole JPEG file."""
    jpeg = encoded(Image.new("RGB", (16, 12)), "JPEG")
    preview = directory(16, 12, kind=REDUCED, compression=7, make=b"SONY\0")
    data = tiff((preview | {279: len(jpeg)}, SENSOR))
    assert "(ARW)" in reason(data)


@pytest.mark.parametrize("options", [{}, {"order": ">"}, {"big": True}])
@pytest.mark.parametrize("kind", [{"kind": REDUCED}, {"old_kind": 2}, {"kind": MASK}])
def test_the_page_of_the_picture_is_read(options, kind):
    data = tiff((directory(16, 12, **kind),), (directory(160, 120, orientation=6),), (directory(80, 60),), **options)
    found = read(data, 1, PLENTY)
    assert (found.width, found.height) == (120, 160)
    assert (found.stored == 80).all()


def test_the_pixel_limit_applies_to_pages():
    data = tiff((directory(16, 12, kind=REDUCED),), (directory(160, 120),))
    with pytest.raises(DecodeError) as caught:
        read(data, 1, 160 * 120 - 1)
    assert caught.value.status == "too_large"


@pytest.mark.parametrize("first", [directory(16, 12, kind=REDUCED), directory(16, 12)])
def test_a_picture_that_belongs_to_its_preview_is_not_read(first):
    assert "whose first page is a preview" in reason(tiff((first, directory(160, 120))))


@pytest.mark.parametrize(
    "pages",
    [
        [(directory(160, 120),), (directory(16, 12),)],
        [(directory(160, 120),), (directory(16, 12, kind=REDUCED),)],
        [(directory(160, 120), directory(80, 60, kind=REDUCED), directory(40, 30, kind=REDUCED))],
        [(directory(160, 120, make=b"NIKON CORPORATION\0"),)],
        [(directory(160, 120, kind=2),), (directory(320, 240, kind=2),)],
        [(directory(160, 120, kind=REDUCED),)],
    ],
    ids=["thumbnail behind", "pyramid", "pyramid within", "of a camera", "pages", "alone"],
)
def test_a_first_page_that_is_the_picture_is_read(pages):
    found = read(tiff(*pages), 1, PLENTY)
    assert (found.width, found.height) == (160, 120)
    assert len(np.unique(found.stored)) == 1


@pytest.mark.parametrize("options", [{}, {"order": ">"}, {"big": True}])
@pytest.mark.parametrize(
    "pages",
    [
        [directory(16, 12, kind=REDUCED), directory(160, 120, kind=REDUCED)],
        [directory(16, 12, old_kind=2), directory(160, 120, old_kind=2)],
        [directory(16, 12, kind=REDUCED), directory(160, 120, kind=REDUCED), directory(80, 60, kind=REDUCED)],
        [directory(160, 120, kind=MASK), directory(160, 120, kind=REDUCED)],
        [directory(16, 12, kind=REDUCED), directory(160, 120, kind=REDUCED), directory(320, 240, kind=MASK)],
        [directory(16, 12, kind=REDUCED), directory(160, 120, kind=REDUCED), directory(320, 240, kind=REDUCED | MASK)],
        [directory(320, 240, kind=MASK), directory(160, 120)],
    ],
    ids=["previews", "old tags", "largest between", "mask first", "larger mask", "mask of a preview", "small picture"],
)
def test_of_previews_and_masks_the_largest_preview_is_read(pages, options):
    found = read(tiff(*((page,) for page in pages), **options), 1, PLENTY)
    assert (found.width, found.height) == (160, 120)
    assert (found.stored == 80).all()


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ([(directory(16, 12, kind=MASK),), (directory(16, 12, kind=MASK),)], "only masks"),
        ([(directory(16, 12, kind=MASK),)], "only masks"),
        ([(directory(16, 12, kind=REDUCED), directory(160, 120, kind=REDUCED))], "whose first page is a preview"),
        ([(directory(160, 120, kind=MASK), directory(16, 12))], "whose first page is a preview"),
    ],
)
def test_masks_and_previews_without_a_page_for_the_picture_are_rejected(pages, said):
    assert said in reason(tiff(*pages))


def test_pages_of_pillows_own_are_read_as_before():
    pages = [Image.new("RGB", (30 + page, 20), (40 * page, 0, 0)) for page in range(3)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    assert read(data, 1, PLENTY).width == 30


def test_a_compressed_page_behind_its_preview_is_read():
    pages = [Image.new("RGB", (30 + page, 20), (40 * page, 0, 0)) for page in range(2)]
    options = {"save_all": True, "append_images": pages[1:], "compression": "tiff_lzw", "tiffinfo": {254: REDUCED}}
    data = bytearray(encoded(pages[0], "TIFF", **options))
    of_the_second = data.rindex(struct.pack("<HHLL", 254, 4, 1, REDUCED))
    data[of_the_second + 8] = 0
    found = read(bytes(data), 1, PLENTY)
    assert found.width == 31
    assert (found.stored == (40, 0, 0)).all()


def loop() -> bytes:
    data = bytearray(tiff((directory(16, 12, kind=REDUCED),)))
    data[-4:] = data[4:8]
    return bytes(data)


def test_directories_of_noise_do_no_harm():
    """Directories with any tags give a result."""
    rng = np.random.default_rng(0)
    whole = [tiff((directory(16, 12, **PREVIEW), SENSOR), order=order, big=big) for order in "<>" for big in (0, 1)]
    for _ in range(2_000):
        data = np.frombuffer(whole[rng.integers(4)], np.uint8).copy()
        data[rng.integers(len(data) - 300, len(data), 20)] = rng.integers(0, 256, 20)
        with suppress(DecodeError):
            read(data.tobytes(), 1, PLENTY)


def test_a_circular_chain_of_directories_ends():
    assert read(loop(), 1, PLENTY).width == 16


@pytest.mark.parametrize(
    "data", [b"II*\0" + b"\xff" * 99, b"MM\0+" + bytes(99), b"II*\0\x08\0\0\0\xff\xff" + bytes(99)]
)
def test_directories_beyond_the_end_are_no_images(data):
    assert "\n" not in reason(data)


def brands(*names: bytes) -> bytes:
    return struct.pack(">L", 12 + 4 * len(names)) + b"ftyp" + names[0] + bytes(4) + b"".join(names[1:]) + bytes(99)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (brands(b"avci", b"mif1"), "HEIF coded as AVC"),
        (brands(b"vvic"), "HEIF coded as VVC"),
        (brands(b"evbi"), "HEIF coded as EVC"),
        (brands(b"j2ki"), "HEIF coded as JPEG 2000"),
        (brands(b"jpeg", b"avis"), "HEIF coded as JPEG"),
        (brands(b"crx ", b"avif"), "a raw camera file (CR3)"),
        (brands(b"qt  "), "video"),
        (brands(b"M4A "), "video or sound"),
        (brands(b"isom", b"mp42"), "video"),
        (b"\0\0\0\x08wide\0\0\0\0mdat" + bytes(99), "video"),
        (b"\xff\x0a\xff\xff" + bytes(99), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL"),
        (b"%PDF-1.7\n" + bytes(99), "PDF"),
        (b"PK\x03\x04" + bytes(99), "ZIP"),
        (b"\0\0\0\x08free\0\0\0\x10skip" + bytes(8) + b"\0\0\0\x40moov" + bytes(99), "QuickTime video"),
        (b"\0\0\0\x0cskip" + bytes(99), "QuickTime video"),
        (b"\0\0\xff\xfffree" + bytes(99), "QuickTime video"),
        (b"\0\0\0\x08free" * 99, "QuickTime video"),
        (b"\0\0\0\x08free" + brands(b"heic", b"mif1"), "HEIF"),
        (b"\0\0\0\x08skip" + brands(b"isom", b"mp42"), "MP4"),
        ((b"\x47" + bytes(187)) * 4, "MPEG video (transport stream)"),
        ((b"\x47\x40\0\x10" + bytes(184)) * 20, "MPEG video (transport stream)"),
        ((b"\x0a\x1b\x2c\x3d\x47\x40\0\x10" + bytes(184)) * 20, "MPEG video (transport stream)"),
        (b"\0\0\x01\xb3\x14\0\xf0\x13" + bytes(99), "MPEG video"),
        (b"0&\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c" + bytes(99), "Windows Media"),
        (b"FLV\x01\5\0\0\0\x09" + bytes(99), "Flash video"),
        (b"OggS\0\2" + bytes(99), "Ogg video"),
        (b".RMF\0\0\0\x12\0\1" + bytes(99), "RealMedia"),
        (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\1\2" + bytes(99), "MXF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "Thumbs.db"),
        (b"{\\rtf1\\ansi hello}", "RTF document"),
        (b"AT&TFORM\0\0\1\0DJVU" + bytes(99), "DjVu"),
        (b"RIFF\0\0\0\0AVI LIST" + bytes(99), "AVI video"),
        (b"\x1a\x45\xdf\xa3" + bytes(99), "Matroska"),
        (b"\xef\xbb\xbf <!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
    ],
)
def test_files_that_are_not_photographs_are_named(data, kind):
    assert kind in reason(data)
    assert reason(data).endswith("which is not read here")


@pytest.mark.parametrize("comment", [b"free", b"moov", b"mdat", b"wide"])
def test_a_comment_in_an_image_is_no_box(comment):
    assert read(b"P5\n#" + comment + b"\n8 8\n255\n" + bytes(64), 1, PLENTY).width == 8


@pytest.mark.parametrize("form", ["BMP", "GIF", "TIFF", "PPM", "PSD"])
def test_images_with_the_sign_of_transport_streams_at_each_packet_are_read(form):
    whole = photographs(71)[form]
    for start, length in ((0, 188), (4, 192)):
        at = range(start + length * (5 if form in ("BMP", "PSD") else 1), len(whole) - 400, length)
        data = bytearray(whole)
        if form != "GIF":  # its blocks would no longer fit
            for place in at:
                data[place] = 0x47
        assert read(bytes(data), 1, PLENTY).width == 100


def photographs(grey: int) -> dict[str, bytes]:
    """One image in each format, uncompressed if the format allows it."""
    image = Image.new("RGB", (100, 100), (grey, grey, grey))
    made = {form: encoded(image, form) for form in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000")}
    psd = b"8BPS\0\1" + bytes(6) + struct.pack(">HLLHH", 3, 100, 100, 8, 3) + bytes(14) + bytes([grey]) * 30_000
    return {**made, "PPM": encoded(image, "PPM"), "ICO": encoded(image, "ICO", sizes=[(100, 100)]), "PSD": psd}


def test_bytes_before_or_inside_an_image_do_not_change_its_kind():
    """Neither leading bytes nor content make another kind of file of it."""
    rng = np.random.default_rng(0)
    for form, data in photographs(0x47).items():
        assert read(data, 1, PLENTY).width == 100, form
        for length in [*range(1, 12), 188, 192, 1000]:
            for _ in range(20):
                before = rng.integers(0, 256, length, np.uint8).tobytes()
                with suppress(DecodeError):
                    assert reason(before + data) == "not an image in a format that is known here", (form, before)


@pytest.mark.parametrize(
    ("major", "frames"),
    [
        (b"avis", 2),
        *itertools.product((b"avif", b"mif1", b"msf1", b"miaf", b"MA1B", b"MA1A", b"mif3", b"isom"), (1, 2)),
    ],
)
def test_avif_of_any_brand_is_read(major, frames):
    """The file only has to be compatible with AVIF."""
    more = [Image.new("RGB", (32, 20), "blue")] * (frames - 1)
    plain = encoded(Image.new("RGB", (32, 20), "red"), "AVIF", save_all=bool(more), append_images=more)
    found = read(plain[:8] + major + plain[12:], 1, PLENTY)
    assert (found.width, found.height) == (32, 20)
    assert (found.stored[..., 0] > 200).all()


@pytest.mark.parametrize(
    "names", [(b"heic", b"mif1"), (b"mif1", b"heix"), (b"msf1", b"hevc"), (b"mif3",), (b"MiHE",), (b"isom", b"mif1")]
)
def test_heif_that_holds_no_image_is_damaged(names):
    assert reason(brands(*names)).startswith("damaged HEIF: ")


def test_avif_whose_major_brand_is_of_another_coding_is_heif():
    plain = encoded(Image.new("RGB", (32, 20)), "AVIF")
    assert "compression format" in reason(plain[:8] + b"heic" + plain[12:])

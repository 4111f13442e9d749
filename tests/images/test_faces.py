import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data
from test_decode import STORED

from cilf.card import Frame, Images
from cilf.demo import photographs
from cilf.images import faces
from cilf.images.body import body_of
from cilf.images.crop import Square, cut
from cilf.images.decode import DecodeError
from cilf.images.detector import agreed, detect
from cilf.images.faces import (
    BoxError,
    Faces,
    NoFaceError,
    find,
    known,
    nearest_the_middle,
    whole,
    whole_or_found,
    whole_unless_blank,
)

SIZE = 96
IMAGES = Images(size=SIZE)
PLENTY = 10**8
PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos" / "photos.parquet"
PEOPLE = Path(photographs.__file__).parent / "faces"
FACE = (169.0, 68.0, 275.0, 174.0)
"""Position of the astronaut's face, measured by eye."""


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.fromarray(data.astronaut())


def found(image: Image.Image, kind: str = "PNG", **options: object) -> Faces:
    return find(encoded(image, kind, **options), IMAGES, PLENTY)


def is_inside(box: np.ndarray, outer: tuple[float, ...], slack: float = 0.15) -> bool:
    room = slack * (outer[2] - outer[0])
    return bool((np.array(outer[:2]) - room <= box[:2]).all() and (box[2:] <= np.array(outer[2:]) + room).all())


def on(canvas: tuple[int, int], *places: tuple[Image.Image, int, int]) -> Image.Image:
    """Pictures on a grey background."""
    ground = Image.new("RGB", canvas, (120, 130, 140))
    for picture, left, top in places:
        ground.paste(picture, (left, top))
    return ground


def test_a_portrait_has_one_face_where_it_is(portrait):
    one = found(portrait)
    assert (one.width, one.height, one.found, one.smaller) == (512, 512, 1, 0)
    assert is_inside(one.boxes_N4[0], FACE)
    assert one.scores_N[0] > 0.7
    assert one.crops_NHWC.shape == (1, SIZE, SIZE, 3)


def test_points_are_eyes_nose_and_mouth(portrait):
    seen = detect(np.asarray(portrait)[50:200, 150:300], 0.5)
    (points,) = agreed(seen, np.array([19, 18, 125, 124], np.float32)).points_N52
    left_eye, right_eye, nose, left_mouth, right_mouth = points + np.array([150, 50])
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_biggest_first(portrait):
    face = portrait.crop((130, 20, 310, 230))
    several = on((900, 500), (face.resize((90, 105)), 40, 300), (face, 300, 100), (face.resize((140, 163)), 650, 250))
    three = found(several)
    assert three.found == 3
    assert (np.diff(three.boxes_N4[:, 2] - three.boxes_N4[:, 0]) < 0).all()
    assert 300 < three.boxes_N4[0, 0] < 480
    assert three.boxes_N4[2, 0] < 130


def turned(wide: Image.Image, orientation: int) -> bytes:
    """Stores a picture as a camera held in this orientation does."""
    turn = STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = wide if turn is None else wide.transpose(turn)
    return encoded(stored, "JPEG", quality=100, subsampling=0, exif=exif)


@pytest.mark.parametrize("orientation", STORED)
def test_the_exif_orientation_is_applied(portrait, orientation):
    wide = portrait.crop((100, 0, 400, 400))
    one, straight = (find(turned(wide, way), IMAGES, PLENTY) for way in (orientation, 1))
    assert (one.width, one.height) == (300, 400)
    np.testing.assert_allclose(one.boxes_N4, straight.boxes_N4, atol=4)
    assert np.abs(one.crops_NHWC.astype(float) - straight.crops_NHWC).mean() < 4


def rotated(picture: Image.Image, degrees: float) -> Image.Image:
    """A picture turned clockwise in the middle of a grey square that holds all of it."""
    side = math.ceil(math.hypot(*picture.size))
    left, top = ((side - length) // 2 for length in picture.size)
    return on((side, side), (picture, left, top)).rotate(-degrees, Image.Resampling.BICUBIC, fillcolor=(120, 130, 140))


def people() -> list[Image.Image]:
    return [Image.open(file).convert("RGB") for file in sorted(PEOPLE.glob("*.webp"))]


def tilts(pictures: list[Image.Image], degrees: float) -> list[float]:
    """Degrees by which the crop of each picture's face, turned by `degrees`, is turned further; of those found."""
    squares = [one.squares[0] for one in (found(rotated(picture, degrees)) for picture in pictures) if one.found]
    return [math.degrees(math.remainder(square.radians - math.radians(degrees), 2 * math.pi)) for square in squares]


@pytest.mark.parametrize("degrees", [-30, 30])
def test_tilted_faces_are_found_and_cut_out_upright(degrees):
    away = tilts(people(), degrees)
    assert len(away) >= 8
    assert np.abs(away).max() < 20


@pytest.mark.parametrize("degrees", [-60, -45, 45, 60])
def test_most_faces_are_found_however_far_they_are_tilted(degrees):
    assert len(tilts(people(), degrees)) >= 8


@pytest.mark.parametrize("degrees", [90, 270])
def test_photographs_that_are_stored_sideways_give_the_same_faces(degrees):
    assert tilts(people(), degrees) == pytest.approx(tilts(people(), 0), abs=1)


def test_most_photographs_that_are_stored_upside_down_give_the_same_faces():
    straight = np.array(tilts(people(), 0))
    assert (np.abs(np.array(tilts(people(), 180)) - straight) < 1).sum() >= 7


@pytest.mark.parametrize(("darker", "least"), [(2, 8), (4, 7), (8, 3)])
def test_dark_faces_are_found(darker, least):
    dark = [Image.fromarray(np.asarray(picture) // darker) for picture in people()]
    assert sum(found(picture).found > 0 for picture in dark) >= least


def test_a_sure_candidate_needs_less_of_the_second_check(portrait, monkeypatch):
    face = portrait.crop((130, 20, 310, 230))
    monkeypatch.setattr(faces, "THRESHOLD", 2.0)  # which no score reaches
    assert found(face).found == 1
    monkeypatch.setattr(faces, "_SURE_THRESHOLD", 2.0)
    assert found(face).found == 0


def test_a_mirrored_window_gives_the_same_face(portrait):
    seen = detect(np.asarray(portrait)[50:200, 150:300], 0.5)
    flipped = detect(np.ascontiguousarray(np.asarray(portrait)[50:200, 150:300][:, ::-1]), 0.5).mirrored(150)
    box = np.array([19, 18, 125, 124], np.float32)
    one, other = agreed(seen, box), agreed(flipped, box)
    np.testing.assert_allclose(other.boxes_N4, one.boxes_N4, atol=4)
    np.testing.assert_allclose(other.points_N52, one.points_N52, atol=4)


def test_a_face_keeps_its_pixels_in_a_large_photograph(portrait):
    """The face is searched for in a small version and cut out of the large one."""
    face = portrait.crop((130, 20, 310, 230)).resize((90, 105), Image.Resampling.LANCZOS)
    large = on((3200, 2400), (face, 1500, 1100))
    alone = found(on((400, 300), (face, 150, 100)))
    one = find(encoded(large, "JPEG", quality=95), IMAGES, PLENTY)
    assert one.found == alone.found == 1
    np.testing.assert_allclose(one.boxes_N4[0] - [1350, 1000, 1350, 1000], alone.boxes_N4[0], atol=12)
    detail = [np.diff(crop[0].astype(float), axis=1).std() for crop in (one.crops_NHWC, alone.crops_NHWC)]
    assert detail[0] > 0.8 * detail[1]


def test_pictures_without_people():
    for picture in (data.coffee(), data.chelsea(), data.rocket()):
        nothing = found(Image.fromarray(picture))
        assert (nothing.found, nothing.smaller, len(nothing.crops_NHWC)) == (0, 0, 0)


@pytest.mark.skipif(not PHOTOS.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize("zoom", [1, 1.4, 2])
def test_photographs_without_people_have_no_face_at_any_size(zoom):
    """Among them are dogs, which the first look takes for faces."""
    rows = [row for row in pq.read_table(PHOTOS).to_pylist() if not row["mtcnn_faces"]]
    assert len(rows) >= 20
    for row in rows:
        with Image.open(io.BytesIO(row["image"])) as image:
            larger = image.convert("RGB").resize((round(zoom * image.width), round(zoom * image.height)))
        assert not found(larger, "JPEG", quality=92).found, row["name"]


def test_too_small_faces_are_counted_separately(portrait):
    tiny = portrait.crop((130, 20, 310, 230)).resize((36, 42), Image.Resampling.LANCZOS)
    none = found(on((320, 240), (tiny, 150, 100)))
    assert (none.found, none.smaller) == (0, 1)


def test_more_faces_than_are_aged_are_counted(portrait, monkeypatch):
    monkeypatch.setattr(faces, "MOST_FACES", 3)
    face = portrait.crop((130, 20, 310, 230)).resize((90, 105))
    crowd = on((600, 240), *((face, 10 + 118 * column, 10 + 115 * row) for row in range(2) for column in range(5)))
    many = found(crowd)
    assert many.found == 10
    assert len(many.boxes_N4) == len(many.crops_NHWC) == len(many.scores_N) == 3


@pytest.mark.parametrize("size", [(1, 1), (6000, 60), (60, 6000), (33, 2), (700, 500)])
def test_pictures_of_odd_shapes_are_accepted(size):
    assert found(Image.new("RGB", size)).found == 0


def test_whole_uses_the_whole_image(portrait):
    one = whole(encoded(portrait), IMAGES, PLENTY)
    assert one.found == 1
    assert one.boxes_N4.tolist() == [[0, 0, 512, 512]]


def test_auto_distinguishes_crops_from_photographs(portrait):
    (one,) = found(portrait).squares
    left, top = round(one.x - one.side / 2), round(one.y - one.side / 2)
    crop = portrait.crop((left, top, left + round(one.side), top + round(one.side)))
    assert whole_or_found(encoded(crop), IMAGES, PLENTY).boxes_N4.tolist() == [[0, 0, *crop.size]]
    photograph = whole_or_found(encoded(portrait), IMAGES, PLENTY)
    np.testing.assert_array_equal(photograph.boxes_N4, found(portrait).boxes_N4)


@pytest.mark.parametrize("degrees", [0, 20, -50])
def test_a_crop_has_the_face_where_its_frame_says(degrees):
    frame = Frame()
    turn = math.radians(degrees)
    matrix = 150 * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    points = np.array(frame.points) @ matrix.T + [300, 200]
    middle = matrix @ [0.5, 0.5] + [300, 200]
    half = 150 * frame.box / 2
    one = faces.square(np.concatenate([middle - half, middle + half]), points, frame)
    assert (one.x, one.y, one.side) == pytest.approx((*middle, 150))
    assert one.radians == pytest.approx(turn)
    larger_box = np.concatenate([middle - 1.21 * half, middle + 1.21 * half])
    assert faces.square(larger_box, points, frame).side == pytest.approx(150 * 1.1)


def one_of_three(portrait) -> Image.Image:
    face = portrait.crop((130, 20, 310, 230))
    return on((900, 500), (face.resize((90, 105)), 40, 300), (face, 300, 100), (face.resize((140, 163)), 650, 250))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("grown", [0.8, 1.0, 1.9])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_known_face_is_cut_out_as_it_is_found(portrait, which, grown, kind):
    """The crop does not depend on the size of the given box."""
    data = encoded(one_of_three(portrait), kind)
    three = find(data, IMAGES, PLENTY)
    left, top, right, bottom = three.boxes_N4[which]
    middle, half = np.array([left + right, top + bottom]) / 2 + 2, grown * np.array([right - left, bottom - top]) / 2
    crop = known(data, np.concatenate([middle - half, middle + half]), IMAGES, PLENTY)
    face, beside = three.squares[which], replace(three.squares[which], x=three.squares[which].x * 1.1)
    image = np.asarray(one_of_three(portrait))
    wrong = np.abs(cut(image, beside, SIZE).astype(float) - cut(image, face, SIZE)).mean()
    assert np.abs(crop.astype(float) - three.crops_NHWC[which]).mean() < min(16, wrong / 2)


def test_a_known_face_that_is_not_found_is_its_box(portrait):
    coffee = Image.fromarray(data.coffee())
    frame = Frame(box=0.5)
    crop = known(encoded(coffee), np.array([200, 100, 248, 148]), Images(size=SIZE, frame=frame), PLENTY)
    framed = coffee.crop((176, 76, 272, 172))
    assert np.abs(crop.astype(float) - np.asarray(framed)).mean() < 1


@pytest.mark.parametrize("orientation", STORED)
def test_boxes_are_in_the_upright_photograph(portrait, orientation):
    wide = portrait.crop((100, 0, 400, 400))
    box = np.array(FACE) - [100, 0, 100, 0]
    crop, straight = (known(turned(wide, way), box, IMAGES, PLENTY) for way in (orientation, 1))
    assert np.abs(crop.astype(float) - straight).mean() < 4


@pytest.mark.parametrize(
    ("box", "complaint"),
    [
        ((10, 10, 10, 60), "its box has no size: 10, 10, 10, 60"),
        ((50, 50, 10, 10), "has no size"),
        ((10, float("nan"), 60, 60), "not four numbers"),
        ((600, 10, 700, 110), "its box 600, 10, 700, 110 lies outside of the image's 512 x 512 pixels"),
        ((-300, 10, -200, 110), "lies outside"),
    ],
)
def test_invalid_boxes_are_reported(portrait, box, complaint):
    with pytest.raises(BoxError, match=complaint):
        known(encoded(portrait), np.array(box), IMAGES, PLENTY)


def test_the_face_nearest_the_middle_is_used(portrait):
    small = portrait.resize((256, 256))
    both = on((1000, 600), (portrait, 480, 40), (small, 290, 170))  # the small face at x 400, the large one at 702
    crop = nearest_the_middle(encoded(both), IMAGES, PLENTY)
    seen = found(both)
    middles_N = seen.boxes_N4[:, ::2].mean(axis=1)
    assert len(middles_N) == 2
    assert middles_N[0] > middles_N[1]  # the biggest comes first and is farther from the middle
    assert (crop == seen.crops_NHWC[1]).all()
    with pytest.raises(NoFaceError, match="no face is found"):
        nearest_the_middle(encoded(on((300, 300))), IMAGES, PLENTY)


def test_bodies_come_with_their_faces(portrait):
    """Three faces, the middle one large; each body shows the part below its face, or is hidden beyond the picture."""
    images = Images(size=SIZE, body=True)
    data = encoded(on((1000, 1200), (portrait.crop((130, 20, 310, 230)), 400, 100)))
    one = find(data, images, PLENTY)
    assert one.crops_NHWC.shape == (1, SIZE, SIZE, 6)
    np.testing.assert_array_equal(one.crops_NHWC[..., :3], find(data, IMAGES, PLENTY).crops_NHWC)
    meant = known(data, one.boxes_N4[0], images, PLENTY)
    assert np.abs(meant.astype(float) - one.crops_NHWC[0]).mean(axis=(0, 1)).max() < 16
    body = one.crops_NHWC[0, ..., 3:].astype(int)
    below, middle = body[SIZE // 2 :], body[: SIZE // 5, SIZE // 2 - 5 : SIZE // 2 + 5]
    assert np.abs(below - [120, 130, 140]).max() < 3  # the background
    assert np.abs(middle - [120, 130, 140]).mean() > 20  # the face is above it
    low = find(encoded(on((1000, 500), (portrait.crop((130, 20, 310, 230)), 400, 100))), images, PLENTY)
    below = low.crops_NHWC[0, SIZE // 2 :, SIZE // 2, 3:]
    assert below[0].min() > 100
    assert below[-1].max() == 0
    alone = find(encoded(portrait.crop((130, 20, 310, 230))), images, PLENTY)
    assert alone.found == 1
    assert not alone.crops_NHWC[..., 3:].any()
    assert not whole(encoded(portrait), images, PLENTY).crops_NHWC[..., 3:].any()


@pytest.mark.parametrize(
    ("degrees", "direction"), [(0, (0, 1)), (30, (0, 1)), (-60, (1, 0)), (90, (-1, 0)), (180, (0, -1))]
)
def test_a_body_is_below_its_face(degrees, direction):
    face = Square(500, 400, 100, math.radians(degrees))
    body = body_of(face)
    step = np.array([body.x - face.x, body.y - face.y])
    np.testing.assert_allclose(step / np.linalg.norm(step), direction, atol=1e-9)
    assert body.side > 3 * face.side
    assert np.linalg.norm(step) + face.side / 2 < body.side / 2  # all of the face is in it


def test_data_that_is_no_image_is_reported():
    for way in (lambda data: find(data, IMAGES, PLENTY), lambda data: whole(data, IMAGES, PLENTY)):
        with pytest.raises(DecodeError) as info:
            way(b"text")
        assert info.value.status == "unreadable"


def flat(level: float, noise: float = 0.0, side: int = 200) -> Image.Image:
    """An image of one grey, with noise of the given standard deviation."""
    pixels = np.random.default_rng(0).normal(level, noise, (side, side, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def noise(side: int, channels: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, channels), np.uint8)
    return Image.fromarray(np.broadcast_to(pixels, (side, side, 3)).copy())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "image",
    [
        flat(0),
        flat(255),
        flat(127),
        flat(128, side=1),
        Image.new("RGB", (300, 40), (200, 30, 30)),
        flat(20, 8),
        flat(240, 20),
        flat(0).resize((2000, 3000)),
        noise(200, 3),
        noise(600, 1),
    ],
    ids=["black", "white", "grey", "a pixel", "red", "dark", "bright", "large", "noise", "grey noise"],
)
def test_an_image_that_shows_nothing_has_no_face(image, kind):
    faces = whole_unless_blank(encoded(image, kind), IMAGES, PLENTY)
    assert (faces.width, faces.height) == image.size
    assert (faces.found, faces.smaller, faces.blank) == (0, 0, True)
    assert faces.crops_NHWC.shape == (0, *IMAGES.shape)
    assert faces.boxes_N4.shape == (0, 4)
    assert not whole_or_found(encoded(image, kind), IMAGES, PLENTY).found


@pytest.mark.parametrize("darker", [1, 4, 16, 32])
def test_dark_and_pale_faces_are_faces(portrait, darker):
    face = portrait.crop((150, 50, 300, 200))
    for image in (face.point(lambda level: level // darker), face.point(lambda level: 255 - level // darker)):
        assert whole_unless_blank(encoded(image), IMAGES, PLENTY).found == 1
        assert not whole_unless_blank(encoded(image), IMAGES, PLENTY).blank


def test_gradients_are_left_to_the_model():
    assert whole_unless_blank(encoded(Image.linear_gradient("L")), IMAGES, PLENTY).found == 1

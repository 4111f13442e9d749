"""Fixtures that many tests share: a tiny model in a folder, photographs, one local Ray, one S3 server."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from PIL import Image

from cilf import cli
from cilf.card import Images
from cilf.labelling.age_actor import AgeActor


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CILF-CIAE model for images of 32 pixels, with every part of the real one and random weights."""
    import torch

    from cilf.card import Card, Clip, Fourier, Images, Model
    from cilf.models.checkpoint import save_model
    from cilf.models.cilf import CILF
    from cilf.models.corrector import Constants, Corrector
    from cilf.models.error_ensemble import ErrorEnsemble
    from cilf.models.evidence import EvidenceScaler
    from cilf.models.familiarity import Cloud, Familiarity
    from cilf.models.judge import Judge
    from cilf.models.quality import COLUMNS

    architecture = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    spec = Model(clip=Clip(architecture=architecture), images=Images(size=32), fourier=Fourier(depth=1))
    torch.manual_seed(0)
    columns = 8 + 2 * 2 + COLUMNS  # of cilf.models.evidence with two other ages, and of quality
    scaler = EvidenceScaler(torch.zeros(columns), torch.ones(columns))
    judge = Judge(scaler, ErrorEnsemble(scaler.width), torch.tensor([[0.0, 100.0], [0.0, 100.0]]))
    clouds = {name: Cloud(torch.zeros(f), torch.eye(f)) for name, f in (("embedding", 32), ("quality", COLUMNS))}
    corrector = Corrector(Constants(youngest=0, oldest=100, epsilon=8.0), Familiarity(clouds), judge)
    folder = tmp_path_factory.mktemp("model")
    card = Card(name="tiny", summary="random weights", licence="none", model=spec)
    save_model(CILF(spec), card, folder, corrector)
    return folder


@pytest.fixture(scope="session")
def photograph() -> Callable[..., bytes]:
    """A smooth picture, bright at the top left and dark at the bottom right, as an encoded file."""

    def encode(number: int = 0, kind: str = "JPEG", width: int = 60, height: int = 40, **options: object) -> bytes:
        down, right = np.mgrid[1 : 0 : height * 1j, 1 : 0 : width * 1j]
        hue = 0.3 + 0.7 * np.random.default_rng(number).random(3)
        pixels = 255 * (down * right)[..., None] * hue
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server, to which the AWS variables of this process and its Ray point."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def ray_session(s3_server: str) -> Iterator[None]:
    """One Ray on this machine; it finds the S3 server through the environment variables it inherits."""
    from cilf.cluster import running

    with running(None):
        yield


@pytest.fixture
def bucket(s3_server: str, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Create a bucket for this test: objects by key -> s3://bucket."""
    import boto3

    client = boto3.client("s3", endpoint_url=s3_server)
    made: list[str] = []

    def make(objects: dict[str, bytes]) -> str:
        name = f"bucket-{abs(hash(request.node.nodeid)):x}-{len(made)}"
        client.create_bucket(Bucket=name)
        made.append(name)
        for key, data in objects.items():
            client.put_object(Bucket=name, Key=key, Body=data)
        return f"s3://{name}"

    return make


@pytest.fixture(scope="session")
def rows() -> Callable[[str | Path], pa.Table]:
    """All label rows below OUTPUT, by uri, read as any reader would."""

    def read(output: str | Path) -> pa.Table:
        folder, fs = f"{output}/labels", None
        if folder.startswith("s3://"):
            import s3fs

            fs = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
            folder = folder.removeprefix("s3://")
        return pads.dataset(folder, filesystem=fs, partitioning="hive").to_table().sort_by("uri")

    return read


class Brightness:
    """Stands in for an estimator: the age of a face is the brightness of its crop, 0..255."""

    images = Images(size=32)

    def __call__(self, images_NHWC: np.ndarray) -> SimpleNamespace:
        age_N = images_NHWC.mean(axis=(1, 2, 3), dtype=np.float32)
        return SimpleNamespace(
            age=age_N,
            age_low=age_N - 5,
            age_high=age_N + 5,
            first_age=age_N + 1,
            expected_error=age_N / 10,
            corrections=np.full(len(age_N), 2, np.int32),
            accepted=age_N < 100,
        )


class BrightnessActor(AgeActor):
    """The real actor without the model, whose libraries take 15 CPU seconds to import."""

    def load(self, *_: object) -> Brightness:  # type: ignore[override]
        return Brightness()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, even if a shell has started the tests in its background, which makes them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimate ages by brightness instead of with a model."""
    from ray import cloudpickle

    # The workers cannot import this file.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr("cilf.labelling.pipeline.AgeActor", BrightnessActor)


@pytest.fixture
def label_truly(
    ray_session: None, model_folder: Path, rows: Callable[[str | Path], pa.Table]
) -> Callable[..., pa.Table]:
    """Run `cilf label` with the tiny model on crops and return all rows in OUTPUT by uri."""

    def run(source: str | Path, output: str | Path, *options: str) -> pa.Table:
        faces = () if "--faces" in options else ("--faces", "none")
        assert cli.main(["label", str(source), str(output), "--model", str(model_folder), *faces, *options]) == 0
        return rows(output)

    return run


@pytest.fixture
def label(stand_in: None, label_truly: Callable[..., pa.Table]) -> Callable[..., pa.Table]:
    """Run `cilf label` with ages by brightness and return all rows in OUTPUT by uri."""
    return label_truly

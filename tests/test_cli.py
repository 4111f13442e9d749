"""What the command line refuses, its messages, and how soon they come."""

from __future__ import annotations

import dataclasses
import inspect
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cilf import cli, cluster
from cilf.config import LabelOptions

ROOT = Path(__file__).parents[1]


def run(*arguments: str, **environment: str) -> tuple[int, str, float]:
    """Run the command in a process of its own -> exit code, stderr, seconds."""
    started = time.monotonic()
    command = [sys.executable, "jobs/label.py", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stderr, time.monotonic() - started


@pytest.fixture
def photos(tmp_path, photograph) -> str:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(photograph())
    return str(tmp_path / "photos")


@pytest.fixture
def refused(capsys):
    """Run `cilf` with arguments that it must refuse, and return its only message."""

    def main(*arguments: str, code: int = cli.WRONG_USAGE) -> str:
        assert cli.main(list(arguments)) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert "Traceback" not in said.err
        assert len(said.err.strip().splitlines()) == 1
        return said.err

    return main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lable", "a", "b"], 'Did you mean "label"'),
        (["label", "a", "b", "--limt", "3"], "Did you mean --limit?"),
        (["label", "a", "b", "--limit", "0"], "Must be >= 1"),
        (["label", "a", "b", "--limit", "three"], 'unable to convert "three" into int'),
        (["label", "a", "b", "--faces", "all"], 'Choose from: "detect"'),
        (["label", "a"], "--output"),
        (["label", "a", "b", "c"], "'c'"),
        (["label", "a", "b", "--config", "no.yaml"], "no.yaml"),
    ],
)
def test_wrong_words(refused, arguments, message):
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limt: 3", "Did you mean --limit?"),
        ("limit: 0", "Must be >= 1"),
        ("max_bytes: lots", 'unable to convert "lots" into int'),
        ("faces: all", 'Choose from: "detect"'),
        ("a: [", "not valid YAML"),
        ("- limit", "must be a mapping"),
    ],
)
def test_wrong_yaml(refused, tmp_path, text, message):
    file = tmp_path / "job.yaml"
    file.write_text(text)
    said = refused("label", "a", "b", "--config", str(file))
    assert message in said
    assert "job.yaml" in said


def test_the_command_line_wins_over_yaml(tmp_path, monkeypatch):
    seen: list[LabelOptions] = []

    def label(options: LabelOptions) -> None:
        seen.append(options)

    monkeypatch.setattr("cilf.labelling.label", label)
    (tmp_path / "job.yaml").write_text("input: a\noutput: b\nlimit: 3\nbatch-size: 5\ninclude: ['*.jpg']\n")
    assert cli.main(["label", "--config", str(tmp_path / "job.yaml"), "--limit", "4"]) == 0
    assert seen == [LabelOptions("a", "b", limit=4, batch_size=5, include=("*.jpg",))]


def test_missing_input(refused, tmp_path, model_folder):
    said = refused("label", f"{tmp_path}/gone", f"{tmp_path}/out", "--model", str(model_folder))
    assert f"{tmp_path}/gone does not exist" in said
    assert not (tmp_path / "out").exists()


def test_empty_input(refused, tmp_path, model_folder):
    (tmp_path / "photos").mkdir()
    said = refused("label", f"{tmp_path}/photos", f"{tmp_path}/out", "--model", str(model_folder))
    assert "nothing to label" in said


def test_unknown_model(refused, photos, tmp_path):
    assert "no model nonsense" in refused("label", photos, f"{tmp_path}/out", "--model", "nonsense")


def test_a_folder_that_is_no_model(refused, photos, tmp_path):
    assert "no model.json" in refused("label", photos, f"{tmp_path}/out", "--model", photos)


@pytest.mark.parametrize(
    "output", ["/proc/out", "{photos}/a.jpg/out", "s3://no-such-bucket/out", "azure://a/b", "s3://"]
)
def test_unwritable_output(refused, photos, model_folder, output, s3_server):
    said = refused("label", photos, output.format(photos=photos), "--model", str(model_folder))
    assert "OUTPUT" in said or "bucket" in said or "azure" in said


def test_output_inside_input(refused, photos, model_folder):
    said = refused("label", photos, f"{photos}/labels", "--model", str(model_folder))
    assert "inside INPUT" in said


def test_too_many_actors(refused, photos, tmp_path, model_folder):
    said = refused("label", photos, f"{tmp_path}/out", "--model", str(model_folder), "--actors", "500")
    assert "too few CPUs: 500 model" in said


def test_gcs_without_its_package(refused, photos, model_folder):
    pytest.importorskip("fsspec")
    if "gcsfs" in sys.modules:
        pytest.skip("gcsfs is installed")
    assert "gcsfs" in refused("label", photos, "gs://bucket/out", "--model", str(model_folder))


def test_a_typo_is_answered_soon(photos, tmp_path):
    code, said, seconds = run(photos, str(tmp_path / "out"), "--modle", "x")
    assert (code, seconds < 10) == (2, True), said
    assert "Did you mean --model?" in said


KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


def test_a_refused_connection(tmp_path, model_folder):
    code, said, seconds = run(
        "s3://b/k", str(tmp_path / "out"), "--model", str(model_folder), AWS_ENDPOINT_URL="http://127.0.0.1:9", **KEYS
    )
    assert (code, seconds < 60) == (2, True), said
    assert "cannot be reached" in said
    assert "AWS_ENDPOINT_URL" in said
    assert "Traceback" not in said


def test_an_address_that_never_answers(tmp_path, model_folder):
    """A listener whose queue is full lets connections hang, as a firewall that drops packets does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(address)
        code, said, seconds = run(
            "s3://b/k",
            str(tmp_path / "out"),
            "--model",
            str(model_folder),
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{address[1]}",
            **KEYS,
        )
        for connection in waiting:
            connection.close()
    assert (code, seconds < 60) == (2, True), said
    assert "cannot be reached" in said
    assert "Traceback" not in said


def test_no_credentials(tmp_path, model_folder):
    nothing = dict.fromkeys(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"], "")
    elsewhere = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    code, said, _ = run("s3://b/k", str(tmp_path / "out"), "--model", str(model_folder), **nothing, **elsewhere)
    assert code == 2
    assert "no credentials for s3://b/k" in said
    assert "Traceback" not in said


def test_what_nobody_expected_is_one_line_and_a_log(monkeypatch, capsys):
    def fail(options: LabelOptions) -> int:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("cilf.labelling.label", fail)
    assert cli.main(["label", "a", "b"]) == cli.FAILED
    said = capsys.readouterr().err
    assert "ZeroDivisionError: surprise" in said
    assert "Traceback" not in said
    log = Path(said.rpartition(" in ")[2].rstrip(")\n"))
    assert "surprise" in log.read_text()
    log.unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_no_traceback(number, interruptible, monkeypatch, capsys):
    def interrupted(options: LabelOptions) -> int:
        os.kill(os.getpid(), number)
        time.sleep(60)
        raise AssertionError

    monkeypatch.setattr("cilf.labelling.label", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["label", "a", "b"]) == cli.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("error", [ImportError, cli.UsageError, cli.JobError])
def test_what_an_interrupt_breaks_off_is_an_interrupt(number, error, interruptible, monkeypatch, capsys):
    """An example is the import of a library in C, which turns the interrupt into an error of its own."""

    def interrupted(options: LabelOptions) -> int:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise error("initialization failed") from None
        raise AssertionError

    monkeypatch.setattr("cilf.labelling.label", interrupted)
    assert cli.main(["label", "a", "b"]) == cli.INTERRUPTED
    assert capsys.readouterr().err == "cilf label: interrupted; run the same command again to resume\n"


def test_a_second_interrupt_ends_what_the_first_one_cleans_up(interruptible, monkeypatch, capsys):
    def interrupted(options: LabelOptions) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
        raise AssertionError

    monkeypatch.setattr("cilf.labelling.label", interrupted)
    assert cli.main(["label", "a", "b"]) == cli.INTERRUPTED
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_ray_has_started(number, times, interruptible, monkeypatch, capsys):
    """A half-started Ray can hang, and outlives its command; a second interrupt does not wait."""
    happened: list[str] = []

    def start(*_: object) -> None:
        for _ in range(times):
            signal.raise_signal(number)
        happened.append("started")

    def starts_ray(options: LabelOptions) -> int:
        with cluster.running(None):
            raise AssertionError

    monkeypatch.setattr("cilf.local_ray._start", start)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: happened.append("ended"))
    monkeypatch.setattr("cilf.labelling.label", starts_ray)
    assert cli.main(["label", "a", "b"]) == cli.INTERRUPTED
    assert happened == (["started", "ended"] if times == 1 else ["ended"])
    assert "interrupted" in capsys.readouterr().err


def test_help_shows_every_option_with_its_meaning(capsys):
    assert cli.main(["label", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for field in dataclasses.fields(LabelOptions):
        assert field.name.replace("_", "-") in text.lower()
    for words in ("too_large (bytes)", "one per share of a GPU", "[default: 120000000]", "--config", "RAY_ADDRESS"):
        assert words in text


def test_every_option_is_explained():
    source = inspect.getsource(LabelOptions)
    for field in dataclasses.fields(LabelOptions):
        after = source.partition(f"    {field.name}: ")[2]
        assert after.partition("\n")[2].lstrip().startswith('"""'), field.name


def test_shipped_yaml_holds_the_defaults(monkeypatch):
    written = yaml.safe_load((ROOT / "configs" / "label.yaml").read_text())
    defaults = {field.name: field.default for field in dataclasses.fields(LabelOptions)}
    assert written == {name: defaults[name] for name in written}


def test_importing_cilf_is_cheap():
    heavy = "[name for name in ('ray', 'torch', 'pyarrow') if name in sys.modules]"
    code = f"import sys, cilf, cilf.cli, cilf.labelling; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

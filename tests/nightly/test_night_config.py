"""CONFIG: its meaning, what is refused, and that the shipped one is right."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from cilf import cli
from cilf.config import LabelOptions, ListOptions, ReportOptions
from cilf.errors import UsageError
from cilf.nightly.config import Config, read_config

SHIPPED = Path(__file__).parents[2] / "configs" / "nightly.yaml"


def write(folder: Path, text: str) -> str:
    path = folder / "nightly.yaml"
    path.write_text(text)
    return str(path)


def test_the_shipped_one_is_right_and_holds_the_defaults(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = read_config(str(SHIPPED))
    places = ("s3://my-bucket/photographs/", "s3://my-bucket/ages/listing")
    assert config.list_options() == ListOptions(places)
    assert config.label_options() == LabelOptions("s3://my-bucket/ages/listing", "s3://my-bucket/ages/")
    assert config.report_options("20261101") == ReportOptions("s3://my-bucket/ages/", since="20261101")
    written = yaml.safe_load(SHIPPED.read_text())
    assert config == Config(inputs=written["inputs"], output=written["output"]).model_copy(
        update={"listing": config.listing, "label": config.label, "report": config.report}
    )
    # Options in comments can be enabled.
    manifest = "manifest: s3://my-bucket/listing/"
    assert f"# {manifest}" in SHIPPED.read_text()
    assert Config.model_validate(written | yaml.safe_load(manifest)).label_options().input == "s3://my-bucket/listing/"


def test_options_reach_the_steps_as_from_a_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    text = """
    inputs: [/photos, /list.csv]
    output: /ages
    list: {include: ["*.jpg"]}
    label: {batch-size: 8, max_actors: 4, faces: auto}
    report:
    """
    config = read_config(write(tmp_path, text))
    assert config.list_options() == ListOptions(("/photos", "/list.csv", "/ages/listing"), include=("*.jpg",))
    label = LabelOptions("/ages/listing", "/ages", batch_size=8, max_actors=4, faces="auto", cluster="auto")
    assert config.label_options() == label


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inputs: /photos\noutput: /ages", Config(inputs=("/photos",), output="/ages")),
        ("output: /b\n<<: {inputs: /a}", Config(inputs=("/a",), output="/b")),
        ("inputs: [-photos, --help]\noutput: --version", Config(inputs=("-photos", "--help"), output="--version")),
        ("inputs: /a\noutput: /b\nmanifest: /b/labels-list",
         Config(inputs=("/a",), output="/b", manifest="/b/labels-list")),
        ("inputs: 2026-11-01\noutput: 007", Config(inputs=("2026-11-01",), output="007")),
        ("inputs: [/a, 1e3]\noutput: /b\nkeep_runs: '70'", Config(inputs=("/a", "1e3"), output="/b", keep_runs=70)),
        ("inputs: /a\noutput: /b\nkeep_runs: 1_000\nfail_on_drift: yes\nmanifest:\nlabel:\nlist:\n",
         Config(inputs=("/a",), output="/b", keep_runs=1000, fail_on_drift=True)),
    ],
)  # fmt: skip
def test_shapes_that_people_write(tmp_path, text, expected):
    assert read_config(write(tmp_path, text)) == expected


def test_options_in_shapes_that_people_write(tmp_path):
    text = """
    inputs: /a
    output: /b
    list: {include: '*.jpg'}
    label: {thumbnails: yes, limit: '10', max_bytes: 1_000, gpus-per-actor: .5, model: 007, include: 2026-*}
    report: {slice: 2026-11-01, price: 1.20}
    """
    config = read_config(write(tmp_path, text))
    assert config.list_options().include == ("*.jpg",)
    label = config.label_options()
    assert (label.thumbnails, label.limit, label.max_bytes, label.gpus_per_actor) == (True, 10, 1000, 0.5)
    assert (label.model, label.include) == ("007", ("2026-*",))
    report = config.report_options("20261101")
    assert (report.slice, report.price) == (("2026-11-01",), 1.2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output: /b", "inputs: Field required"),
        ("inputs: []\noutput: /b", "inputs: Tuple should have at least 1 item"),
        ("inputs: {/a: 1}\noutput: /b", "inputs: Input should be a valid tuple, found {'/a': '1'}"),
        ("inputs: ['']\noutput: /b", "inputs.0: String should have at least 1 character"),
        ("inputs:\noutput: /b", "inputs: Field required"),
        ("inputs: [/a]", "output: Field required"),
        ("inputs: [/a]\noutput: /b\nmodle: x", "modle: Extra inputs are not permitted"),
        ("inputs: [/a]\noutput: /b\nkeep-run: 70", "keep-run: Extra inputs are not permitted; did you mean keep_runs?"),
        ("input: [/a]\noutput: /b", "input: Extra inputs are not permitted; did you mean inputs?"),
        (
            "inputs: [/a]\noutput: /b\nmodel: x",
            "model: Extra inputs are not permitted; it is an option of the section label",
        ),
        ("inputs: [/a]\noutput: /b\ninclude: x", "it is an option of the section list or label"),
        ("inputs: [/a]\noutput: /b\nlist: {include: [*.jpg]}", "put globs such as '*.jpg' in quotes"),
        ("inputs: [/a]\ninputs: [/c]\noutput: /b", "duplicate key inputs"),
        ("inputs: [/a]\noutput: /b\nlabel: {faces: no}", 'Invalid value "no" for [faces]'),
        (
            "inputs: [/a]\noutput: /b\nreport: {Slices: x}",
            'Unknown option: "[Slices]" from report. Did you mean slice?',
        ),
        ("inputs: [/a]\noutput: /b\nlabel: fast", "label: Input should be a valid dictionary"),
        ("inputs: [/a]\noutput: /b\nlabel: {modle: x}", 'Unknown option: "[modle]" from label'),
        ("inputs: [/a]\noutput: /b\nlabel: {limit: 0}", "Must be >= 1"),
        ("inputs: [/a]\noutput: /b\nreport: {review: -1}", "Must be >= 0"),
        ("inputs: [/a]\noutput: /b\nlabel: {dry-run: true}", "label: dry_run: a night sets this itself"),
        ("inputs: [/a]\noutput: /b\nreport: {since: x, output: y}", "report: output, since: a night sets this itself"),
        ("inputs: [/a]\noutput: /b\nkeep_runs: 7", "keep_runs: Input should be greater than or equal to 60"),
        ("inputs: [/a/c, /a]\noutput: /a/b", "output /a/b lies inside input /a"),
        ("inputs: /a\noutput: /b\nmanifest: /a/m", "manifest /a/m and input /a: one lies inside the other"),
        ("inputs: [/c, /a]\noutput: /b\nmanifest: /a/", "manifest /a/ and input /a: one lies inside the other"),
        ("inputs: /a/photos\noutput: /b\nmanifest: /a", "manifest /a and input /a/photos: one lies inside the other"),
        ("inputs: /a\noutput: /b\nmanifest: /c/../b/", "output /b lies inside manifest /c/../b/"),
        ("inputs: /a\noutput: /b/d\nmanifest: /b", "output /b/d lies inside manifest /b"),
        ("inputs: /a\noutput: /b\nmanifest: /b/labels", "manifest /b/labels lies inside labels of output"),
        ("inputs: /a\noutput: /b\nmanifest: /b/runs/m", "manifest /b/runs/m lies inside runs of output"),
        ("inputs: s3://a/b\noutput: s3://a/c\nmanifest: s3://a/c/leases", "lies inside leases of output"),
        ("inputs: [azure://a/b]\noutput: /b", "cannot open azure://"),
        ("inputs: [", "is not YAML"),
        ("", "valid dictionary"),
        ("- a", "valid dictionary"),
    ],
)
def test_what_is_refused(tmp_path, capsys, text, message):
    path = write(tmp_path, text)
    assert cli.main(["nightly", path]) == cli.WRONG_USAGE
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith(f"cilf nightly: {path}")
    assert len(said.strip().splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["nightly.yaml"]


def test_an_output_that_a_link_leads_into_an_input(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").symlink_to("in")
    with pytest.raises(UsageError, match="lies inside input"):
        read_config(write(tmp_path, f"inputs: [{tmp_path}/in]\noutput: {tmp_path}/out/labels"))


def test_bytes_that_are_no_text_and_no_file_at_all(tmp_path):
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00inputs")
    with pytest.raises(UsageError, match="is not YAML"):
        read_config(str(tmp_path / "bytes.yaml"))
    with pytest.raises(UsageError, match="does not exist"):
        read_config(str(tmp_path / "no.yaml"))
    with pytest.raises(UsageError, match="cannot read CONFIG"):
        read_config(str(tmp_path))


def test_from_a_bucket(bucket):
    url = bucket({"nightly.yaml": b"inputs: [s3://a/b]\noutput: s3://a/c"})
    assert read_config(f"{url}/nightly.yaml").manifest_folder == "s3://a/c/listing"


def test_options_of_the_night_itself_are_options():
    from cilf.nightly.config import _ITS_OWN

    for name, options in {"list": ListOptions, "label": LabelOptions, "report": ReportOptions}.items():
        assert _ITS_OWN[name] <= {field.name for field in dataclasses.fields(options)}

"""The KubeRay manifests: whether the API server would accept them, and what they would run on which machines."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from command_lines import ROOT, job_options, words
from cyclopts import CycloptsError

import cilf
from cilf.cluster import Cluster
from cilf.config import LabelOptions, NightlyOptions, TrainOptions
from cilf.errors import UsageError
from cilf.labelling.runtime import plan
from cilf.nightly.config import Config, read_config
from cilf.training.defaults import filled
from cilf.training.recipe import Recipe, read_yaml
from cilf.training.trainer import worker_resources

FOLDER = ROOT / "cluster" / "kuberay"
DEFINITIONS = ROOT.parent / "shared" / "data" / "kuberay"
JOBS = ["label-job.yaml", "train-job.yaml", "nightly.yaml"]


def load(name: str) -> dict[str, Any]:
    """The last document of a file: the job. ConfigMaps that it needs come before it."""
    *_, last = yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))
    return last


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The configuration in the nightly job's ConfigMap, from the path where the job reads it."""
    config, job_of_night = yaml.safe_load_all((FOLDER / "nightly.yaml").read_text(encoding="utf-8"))
    path = Path(job_options(words(job(job_of_night)["entrypoint"])).night)
    head = pods(job_of_night)[0]
    assert (config["apiVersion"], config["kind"]) == ("v1", "ConfigMap")
    assert head["volumes"] == [{"name": "nightly", "configMap": {"name": config["metadata"]["name"]}}]
    assert head["containers"][0]["volumeMounts"] == [
        {"name": "nightly", "mountPath": str(path.parent), "readOnly": True}
    ]
    written = tmp_path_factory.mktemp("config") / "nightly.yaml"
    written.write_text(config["data"][path.name], encoding="utf-8")
    return read_config(str(written))


def job(manifest: dict[str, Any]) -> dict[str, Any]:
    """The RayJob's specification."""
    return manifest["spec"].get("jobTemplate", manifest["spec"])


def groups(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The head's group and those of the workers."""
    cluster = job(manifest)["rayClusterSpec"]
    yield cluster["headGroupSpec"]
    yield from cluster["workerGroupSpecs"]


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [group["template"]["spec"] for group in groups(manifest)]


def smallest(manifest: dict[str, Any]) -> Cluster:
    """The cluster that a job finds when it is submitted: KubeRay waits for `replicas` of each group, no more."""
    cpus = gpus = nodes = 0
    for group in groups(manifest):
        [container] = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        each = int(group["rayStartParams"].get("num-cpus", limits["cpu"]))
        count = group.get("replicas", 1)
        cpus += count * each
        gpus += count * int(limits.get("nvidia.com/gpu", 0))
        nodes += count * bool(each)
    return Cluster(cpus, gpus, nodes)


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema as a JSON Schema that refuses what the API server would drop or refuse: unknown fields.

    Rules that are written in CEL (x-kubernetes-validations) are not checked.
    """
    out = {key: value for key, value in schema.items() if not key.startswith("x-")}
    if "properties" in schema:
        out["properties"] = {name: closed(inner) for name, inner in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = closed(schema["additionalProperties"])
    if "items" in schema:
        out["items"] = closed(schema["items"])
    if schema.get("nullable"):
        out = {"anyOf": [out, {"type": "null"}]}
    return out


@pytest.fixture(scope="session")
def check() -> Callable[[dict[str, Any]], None]:
    """Check a manifest against the custom resource definition of its kind."""
    validators: dict[tuple[str, str], jsonschema.Draft202012Validator] = {}

    def validator(kind: str, version: str) -> jsonschema.Draft202012Validator:
        path = DEFINITIONS / f"ray.io_{kind.lower()}s.yaml"
        if not path.is_file():
            pytest.skip(f"no definition of a {kind} in {DEFINITIONS}")
        definition = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        assert definition["spec"]["names"]["kind"] == kind
        [served] = [v for v in definition["spec"]["versions"] if f"ray.io/{v['name']}" == version and v["served"]]
        return jsonschema.Draft202012Validator(closed(served["schema"]["openAPIV3Schema"]))

    def hold(manifest: dict[str, Any]) -> None:
        key = manifest["kind"], manifest["apiVersion"]
        if key not in validators:
            validators[key] = validator(*key)
        validators[key].validate(manifest)

    return hold


@pytest.mark.parametrize("name", JOBS)
def test_the_definition_is_met(check, name):
    manifest = load(name)
    check(manifest)
    assert manifest["kind"] == ("RayCronJob" if name == "nightly.yaml" else "RayJob")


def _worker(manifest: dict[str, Any]) -> dict[str, Any]:
    return job(manifest)["rayClusterSpec"]["workerGroupSpecs"][-1]


FAULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "an unknown field": lambda m: job(m).update(shutdownAfterJobFinished=True),
    "an unknown field deep down": lambda m: _worker(m)["template"]["spec"]["containers"][0].update(Image="x"),
    "a string for a number": lambda m: _worker(m).update(maxReplicas="8"),
    "a number for a string": lambda m: job(m)["rayClusterSpec"].update(rayVersion=2.6),
    "no value of the enumeration": lambda m: job(m)["rayClusterSpec"]["autoscalerOptions"].update(version="v3"),
    "a required field missing": lambda m: _worker(m).pop("groupName"),
    "a number in rayStartParams": lambda m: _worker(m)["rayStartParams"].update({"num-cpus": 0}),
    "not a quantity": lambda m: _worker(m)["template"]["spec"]["containers"][0]["resources"]["limits"].update(
        cpu="7 x"
    ),
}


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(check, name, fault):
    manifest = copy.deepcopy(load(name))
    FAULTS[fault](manifest)
    with pytest.raises(jsonschema.ValidationError):
        check(manifest)


def test_a_night_without_a_schedule_is_refused(check):
    manifest = load("nightly.yaml")
    del manifest["spec"]["schedule"]
    with pytest.raises(jsonschema.ValidationError, match="'schedule' is a required property"):
        check(manifest)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("label-job.yaml", LabelOptions), ("train-job.yaml", TrainOptions), ("nightly.yaml", NightlyOptions)],
)
def test_command_lines(name, kind):
    assert type(job_options(words(job(load(name))["entrypoint"]))) is kind


def test_the_night_labels_what_the_label_job_labels(night):
    of_job = job_options(words(job(load("label-job.yaml"))["entrypoint"]))
    assert night.inputs == (of_job.input,)
    assert night.output == of_job.output
    assert night.label_options() == dataclasses.replace(of_job, input=night.manifest_folder)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("python /cilf/jobs/label.py s3://a/b s3://a/c --max-actor 8", CycloptsError),
        ("python /cilf/jobs/label.py s3://a/b s3://a/c --max-actors many", CycloptsError),
        ("python /cilf/jobs/label.py s3://a/b", CycloptsError),
        ("python /cilf/jobs/nightly.py", CycloptsError),
        ("python /cilf/jobs/lable.py s3://a/b s3://a/c", ValueError),
        ("cilf label s3://a/b s3://a/c", ValueError),
        ("python /cilf/jobs/list.py s3://a/b s3://a/c && python /cilf/jobs/label.py s3://a/c s3://a/d", ValueError),
        ("python /cilf/jobs/list.py s3://a/b s3://a/c; python /cilf/jobs/compact.py s3://a/c", ValueError),
        ("bash -c 'python /cilf/jobs/compact.py s3://a/c'", ValueError),
    ],
)
def test_wrong_command_lines_are_refused(line, error):
    with pytest.raises(error):
        job_options(words(line))


@pytest.mark.parametrize("name", ["label-job.yaml", "nightly.yaml"])
def test_labelling_finds_gpus_when_it_starts(name, night):
    manifest = load(name)
    options = job_options(words(job(manifest)["entrypoint"])) if name == "label-job.yaml" else night.label_options()
    planned = plan(options, smallest(manifest))
    most = sum(group["maxReplicas"] for group in list(groups(manifest))[1:] if group["groupName"] == "gpu")
    assert planned.actor_gpus == 1
    assert planned.actors >= 1
    assert planned.max_actors == most


def test_a_cluster_that_starts_without_gpus_would_be_noticed():
    manifest = load("label-job.yaml")
    _worker(manifest).update(replicas=0)
    options = job_options(words(job(manifest)["entrypoint"]))
    assert plan(options, smallest(manifest)).actor_gpus is None


def test_the_night_runs_on_what_the_label_job_runs_on():
    manifest = load("nightly.yaml")
    head = pods(manifest)[0]
    del head["volumes"], head["containers"][0]["volumeMounts"]
    assert job(manifest)["rayClusterSpec"] == job(load("label-job.yaml"))["rayClusterSpec"]


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_training_has_room_for_its_workers(path):
    """The recipes get the `workers` that cluster/README.md recommends."""
    manifest = load("train-job.yaml")
    [group] = job(manifest)["rayClusterSpec"]["workerGroupSpecs"]
    workers = (group["minReplicas"], group["maxReplicas"])
    assert f"workers: [{workers[0]}, {workers[1]}]" in (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
    recipe = Recipe.model_validate(filled(read_yaml(path)) | {"workers": workers})
    assert worker_resources(recipe, smallest(manifest)) == (1, 1)
    with pytest.raises(UsageError, match="GPUs"):
        worker_resources(recipe.model_copy(update={"workers": 3}), smallest(manifest))


def test_the_recipe_is_where_training_looks_for_it():
    manifest = load("train-job.yaml")
    options = job_options(words(job(manifest)["entrypoint"]))
    head = pods(manifest)[0]
    [mount] = head["containers"][0]["volumeMounts"]
    [volume] = head["volumes"]
    assert Path(options.recipe).parent == Path(mount["mountPath"])
    assert volume["name"] == mount["name"]
    readme = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
    assert f"configmap {volume['configMap']['name']} --from-file={Path(options.recipe).name}" in readme


@pytest.mark.parametrize("name", JOBS)
def test_versions(name):
    manifest = load(name)
    [pinned] = re.findall(r"^ray==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert job(manifest)["rayClusterSpec"]["rayVersion"] == pinned
    images = {container["image"] for pod in pods(manifest) for container in pod["containers"]}
    assert images == {f"registry.example.com/cilf:{cilf.__version__}"}


@pytest.mark.parametrize("name", JOBS)
def test_who_the_pods_are(name):
    """Pods do not run as root, have a service account's role, and contain no secret in plain text."""
    account = load("account.yaml")
    for pod in pods(load(name)):
        assert pod["serviceAccountName"] == account["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 1000
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert not [variable for variable in container.get("env", []) if "value" in variable]


@pytest.mark.parametrize("name", JOBS)
def test_spot_machines_have_no_head(name):
    head, *workers = (pod["nodeSelector"]["karpenter.sh/capacity-type"] for pod in pods(load(name)))
    assert head == "on-demand"
    assert set(workers) == {"spot"}


@pytest.mark.parametrize("name", JOBS)
def test_ray_knows_its_parameters(name):
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    assert "--num-cpus" in known
    for group in groups(load(name)):
        assert {f"--{parameter}" for parameter in group["rayStartParams"]} <= known

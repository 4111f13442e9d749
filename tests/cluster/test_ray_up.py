"""cluster/aws.yaml and its roles: whether Ray and EC2 would accept them, checked without contacting either."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml
from command_lines import ROOT

import cilf
from cilf.cluster import Cluster
from cilf.config import LabelOptions
from cilf.labelling.runtime import plan


def config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text(encoding="utf-8"))


def check(cluster: dict[str, Any]) -> None:
    """Check a configuration as `ray up` does: against Ray's schema, with Ray's defaults for AWS, and beyond it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(cluster)))


def machine_problems(node: dict[str, Any]) -> list[str]:
    """The parts of a machine's description that EC2 would refuse."""
    import botocore.session
    from botocore.validate import ParamValidator

    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report = ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, shape)
    return report.generate_report().splitlines()


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The configuration as `ray up` completes it just before it starts the head, in an account simulated by moto."""
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config

    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    account = mock_aws()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        account.start(reset=False)  # other tests may have an S3 server in the same account
        try:
            iam = boto3.client("iam", region_name="us-east-1")
            for name in {kind["node_config"]["IamInstanceProfile"]["Name"] for kind in machines(config())}:
                iam.create_instance_profile(InstanceProfileName=name)
            completed = bootstrap_aws(prepare_config(config()))
            return AWSNodeProvider.fillout_available_node_types_resources(completed)
        finally:
            account.stop(remove_data=False)


def machines(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return list(cluster["available_node_types"].values())


def test_ray_takes_it():
    check(config())


def test_ray_up_would_start_it(launched):
    for machine in machines(launched):
        node = machine["node_config"]
        assert node["SubnetIds"]
        assert node["SecurityGroupIds"]
        assert node["KeyName"]
        assert machine_problems({key: value for key, value in node.items() if key != "SubnetIds"}) == []


FAULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "an unknown field": lambda c: c.update(max_worker=3),
    "an unknown field of docker": lambda c: c["docker"].update(imgae="x"),
    "an unknown field of a machine": lambda c: c["available_node_types"]["gpu"].update(maximum=1),
    "a string for a number": lambda c: c.update(idle_timeout_minutes="3"),
    "a machine that is not there": lambda c: c.update(head_node_type="boss"),
    "less than the least": lambda c: c.update(max_workers=1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(fault):
    cluster = config()
    FAULTS[fault](cluster)
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        check(cluster)


@pytest.mark.parametrize("kind", ["head", "decode", "gpu"])
def test_ec2_understands_the_machines(kind):
    node = config()["available_node_types"][kind]["node_config"]
    assert machine_problems(node) == []
    assert machine_problems(node | {"InstanceTyp": "m7i.large"}) != []
    assert machine_problems(node | {"MetadataOptions": {"HttpToken": "required"}}) != []


def test_only_workers_are_reclaimed():
    kinds = config()["available_node_types"]
    spot = {name for name, kind in kinds.items() if "InstanceMarketOptions" in kind["node_config"]}
    assert spot == set(kinds) - {"head"}
    assert kinds["head"]["resources"] == {"CPU": 0}


def test_there_is_room_for_all_and_a_gpu_from_the_start(launched):
    workers = [kind for name, kind in launched["available_node_types"].items() if name != "head"]
    assert launched["max_workers"] == sum(kind["max_workers"] for kind in workers)
    least = Cluster(
        cpus=sum(kind["min_workers"] * kind["resources"]["CPU"] for kind in workers),
        gpus=sum(kind["min_workers"] * kind["resources"].get("GPU", 0) for kind in workers),
        nodes=sum(kind["min_workers"] for kind in workers),
    )
    gpus = sum(kind["max_workers"] * kind["resources"].get("GPU", 0) for kind in workers)
    planned = plan(LabelOptions("a", "b", max_actors=8), least)
    assert (planned.actor_gpus, planned.actors, planned.max_actors) == (1, 1, gpus)


def test_one_account_region_and_version():
    text = (ROOT / "cluster" / "aws.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\b\d{12}\b", text)) == {"111122223333"}
    assert set(re.findall(r"\b[a-z]{2}-[a-z]+-\d\b", text)) == {"us-east-1"}
    assert config()["docker"]["image"].endswith(f"/cilf:{cilf.__version__}")


def start_options(line: str) -> dict[str, Any]:
    """The options as `ray start` parses them.

    Raises:
        click.UsageError: it does not accept all of them.
    """
    import shlex

    from ray.scripts.scripts import start

    words = shlex.split(line)
    assert words[:2] == ["ray", "start"]
    return start.make_context("ray start", words[2:]).params


def test_ray_start():
    import click

    [head] = [line for line in config()["head_start_ray_commands"] if "start" in line]
    [worker] = [line for line in config()["worker_start_ray_commands"] if "start" in line]
    assert start_options(head)["head"]
    # Without this file, a head never requests machines.
    assert start_options(head)["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
    assert start_options(worker)["address"] == f"$RAY_HEAD_IP:{start_options(head)['port']}"
    with pytest.raises(click.UsageError):
        start_options(head.replace("--autoscaling-config", "--autoscaler-config"))


class _Template(yaml.SafeLoader):
    """A loader that keeps CloudFormation's short forms as pairs: (!Sub, text)."""


_Template.add_multi_constructor("!", lambda loader, tag, node: (f"!{tag}", loader.construct_scalar(node)))


@pytest.fixture
def roles() -> dict[str, Any]:
    text = (ROOT / "cluster" / "aws-roles.yaml").read_text(encoding="utf-8")
    assert not re.search(r"[&*][a-z]+$", text, re.MULTILINE), "CloudFormation does not support YAML aliases"
    return yaml.load(text, Loader=_Template)["Resources"]


def test_every_machine_has_a_role(roles):
    profiles = {
        resource["Properties"]["InstanceProfileName"]: resource["Properties"]["Roles"]
        for resource in roles.values()
        if resource["Type"] == "AWS::IAM::InstanceProfile"
    }
    named = {machine["node_config"]["IamInstanceProfile"]["Name"] for machine in machines(config())}
    assert named == set(profiles)
    for [(kind, name)] in profiles.values():
        assert kind == "!Ref"
        assert roles[name]["Type"] == "AWS::IAM::Role"


def test_roles_reach_one_bucket(roles):
    for statement in roles["Work"]["Properties"]["PolicyDocument"]["Statement"]:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert all(re.fullmatch(r"s3:[A-Za-z]+", action) for action in actions)
        assert "${Bucket}" in statement["Resource"][1]
    for statement in roles["Head"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]:
        assert statement["Action"] != "*"
        assert "iam:PassRole" not in statement["Action"] or statement["Resource"] == ("!GetAtt", "Worker.Arn")
    # Ray marks its machines with this tag; the head may terminate no others.
    [ending] = [
        s
        for s in roles["Head"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        if s["Action"] == "ec2:TerminateInstances"
    ]
    from ray.autoscaler.tags import TAG_RAY_CLUSTER_NAME

    assert ending["Condition"]["StringEquals"] == {f"aws:ResourceTag/{TAG_RAY_CLUSTER_NAME}": config()["cluster_name"]}

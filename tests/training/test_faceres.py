"""faceres in timm's trunk, compared with the graph that its file describes."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from skimage.data import astronaut
from tiny_systems import ARCHITECTURE
from tiny_training import RECIPE
from torch.nn import functional as F

from cilf.cli import main
from cilf.models.clip import WeightsError
from cilf.models.systems import build_network
from cilf.training.faceres import CAFFE_MEANS, load_faceres, settle
from cilf.training.image_init import init_image
from cilf.training.recipe import Recipe

FILE = Path(__file__).parents[2] / "weights" / "faceres-deep.json"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE = tuple(mean / 255 for mean in CAFFE_MEANS), (0.25, 0.3, 0.2)
WIDTHS = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)


def same(x, kernel, stride):
    """TensorFlow's SAME padding: an odd row or column is added at the end."""
    for axis in (3, 2):
        size, over = x.shape[axis], kernel.shape[axis]
        total = max(0, (-(-size // stride) - 1) * stride + over - size)
        x = F.pad(x, [0, 0] * (3 - axis) + [total // 2, total - total // 2])
    return x


def convolve(node, x, kernel):
    stride = int(node["attr"]["strides"]["list"]["i"][1])
    grouped = node["op"] == "DepthwiseConv2dNative"
    kernel = kernel.permute(2, 3, 0, 1) if grouped else kernel.permute(3, 2, 0, 1)
    return F.conv2d(same(x, kernel, stride), kernel, stride=stride, groups=len(kernel) if grouped else 1)


def channels(x):
    return x[:, None, None] if x.ndim == 1 else x


OPS = {
    "Conv2D": convolve,
    "DepthwiseConv2dNative": convolve,
    "Add": lambda _, x, y: x + channels(y),
    "Mul": lambda _, x, y: x * channels(y),
    "Relu": lambda _, x: x.relu(),
    "Minimum": lambda _, x, y: torch.minimum(x, y),
    "Maximum": lambda _, x, y: torch.maximum(x, y),
}


def interpret(path, pixels_BCHW):
    """Every map of the graph by its name, for RGB in 0..255."""
    model = json.loads(path.read_text())
    raw, start, made = path.with_suffix(".bin").read_bytes(), 0, {}
    for weight in model["weightsManifest"][0]["weights"]:
        count = int(np.prod(weight["shape"]))
        values = np.frombuffer(raw, weight["dtype"], count, start).reshape(weight["shape"])
        made[weight["name"]], start = torch.tensor(values), start + 4 * count
    made["input_1"] = (pixels_BCHW - torch.tensor(CAFFE_MEANS)[:, None, None]).flip(1)
    for node in model["modelTopology"]["node"]:
        if node["op"] in OPS:
            made[node["name"]] = OPS[node["op"]](node, *(made[name] for name in node["input"]))
    return made


def write(folder, widths=WIDTHS):
    """A graph and weights in faceres' layout, random but of a size that keeps maps within ReLU6's range."""
    draw, nodes, weights, width = np.random.default_rng(0), [], {}, 32

    def node(name, op, *inputs, stride=1):
        nodes.append(
            {"name": name, "op": op, "input": inputs, "attr": {"strides": {"list": {"i": [1, stride, stride, 1]}}}}
        )
        return name

    def clipped(name, x):
        weights[f"{name}/Cast"], weights[f"{name}/Const_1"] = np.float32(6), np.float32(0)
        x = node(f"{name}/Relu", "Relu", x)
        x = node(f"{name}/clip_by_value/Minimum", "Minimum", x, f"{name}/Cast")
        return node(f"{name}/clip_by_value", "Maximum", x, f"{name}/Const_1")

    def offset(name, x, width):
        weights[f"{name}_bn/batchnorm_1/sub"] = draw.uniform(-0.5, 1.5, width).astype(np.float32)
        x = node(f"{name}_bn/batchnorm_1/add_1", "Add", x, f"{name}_bn/batchnorm_1/sub")
        return clipped(f"{name}_relu", x)

    def kernel(name, *shape, spread=1.0):
        weights[name] = draw.normal(0, spread / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)
        return name

    x = node("conv1", "Conv2D", "input_1", kernel("conv1/convolution/merged_input", 3, 3, 3, 32, spread=0.02), stride=2)
    x = offset("conv1", x, 32)
    for number, wider in enumerate(widths, start=1):
        name, point = f"conv_dw_{number}", f"conv_pw_{number}"
        stride = 2 if number in (2, 4, 6, 12) else 1
        x = node(
            f"{name}/depthwise",
            "DepthwiseConv2dNative",
            x,
            kernel(f"{name}/depthwise_kernel", 3, 3, width, 1),
            stride=stride,
        )
        weights[f"{name}_bn/batchnorm_1/mul"] = draw.uniform(5, 30, width).astype(np.float32)
        x = offset(name, node(f"{name}_bn/batchnorm_1/mul_1", "Mul", x, f"{name}_bn/batchnorm_1/mul"), width)
        x = node(f"{point}/mul", "Conv2D", x, kernel(f"{point}/convolution/merged_input", 1, 1, width, wider))
        x, width = offset(point, x, wider), wider
    path = folder / "faceres-deep.json"
    listed = [{"name": name, "shape": list(value.shape), "dtype": str(value.dtype)} for name, value in weights.items()]
    manifest = [{"paths": [path.with_suffix(".bin").name], "weights": listed}]
    path.write_text(json.dumps({"modelTopology": {"node": nodes}, "weightsManifest": manifest}))
    path.with_suffix(".bin").write_bytes(b"".join(value.tobytes() for value in weights.values()))
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("faceres"))


@pytest.fixture
def trunk():
    return timm.create_model("mobilenetv1_100", num_classes=0).eval()


def pixels(rows=2, side=97, seed=0):
    """Smooth colours, as in photographs."""
    coarse = 255 * torch.rand(rows, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=side, mode="bicubic").clamp(0, 255)


def normalised(pixels_BCHW, mean, std):
    return (pixels_BCHW / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def spread(difference, of):
    return (difference.abs().max() / of.abs().max()).item()


@torch.no_grad()
@pytest.mark.parametrize("side", [97, 129])
def test_the_trunk_equals_the_graph(trunk, side):
    if not FILE.is_file():
        pytest.skip("no weights/faceres-deep.json: `make weights` gets it")
    face = torch.tensor(astronaut()[:240, 100:340]).permute(2, 0, 1)[None].float()
    face = F.interpolate(face, size=side, mode="bilinear", antialias=True)
    expected = interpret(FILE, face)["conv_pw_13_relu/clip_by_value"]
    load_faceres(trunk, FILE, *CAFFE)
    assert spread(trunk.forward_features(normalised(face, *CAFFE)) - expected, expected) < 1e-4
    load_faceres(trunk, FILE, *IMAGENET)
    found = trunk.forward_features(normalised(face, *IMAGENET))
    # The zeros around the image stand for another colour here, half a level away.
    assert spread(found - expected, expected) < 0.01
    assert (found - expected).abs().mean() < 0.005 * expected.abs().mean()


@torch.no_grad()
def test_any_weights_in_its_layout_become_the_same_function(trunk, written):
    expected = interpret(written, pixels())["conv_pw_13_relu/clip_by_value"]
    assert 0.1 < expected.mean() < 5
    load_faceres(trunk, written, *CAFFE)
    assert spread(trunk.forward_features(normalised(pixels(), *CAFFE)) - expected, expected) < 1e-4


@torch.no_grad()
def test_a_trunk_may_lack_the_last_stage(written):
    cut = timm.create_model("mobilenetv1_100", features_only=True, out_indices=(3,)).eval()
    del cut.blocks[4]
    load_faceres(cut, written, *CAFFE)
    expected = interpret(written, pixels())["conv_pw_11_relu/clip_by_value"]
    assert spread(cut(normalised(pixels(), *CAFFE))[0] - expected, expected) < 1e-4


@torch.no_grad()
def test_settling_changes_statistics_and_no_output(trunk, written):
    load_faceres(trunk, written, *IMAGENET)
    faces, others = (normalised(pixels(24, seed=seed), *IMAGENET) for seed in (1, 2))
    before = trunk(others)
    settle(trunk, faces)
    assert not trunk.training
    assert spread(trunk(others) - before, before) < 1e-4
    settled = trunk(faces)
    trunk.train()
    # The statistics of the batch equal the stored ones.
    assert spread(trunk(faces) - settled, settled) < 0.02
    trunk.eval()


def test_a_missing_or_truncated_file_is_named(trunk, written, tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.json cannot be read: No such file.*make weights"):
        load_faceres(trunk, tmp_path / "nowhere.json", *IMAGENET)
    alone = tmp_path / "faceres-deep.json"
    alone.write_text(written.read_text())
    with pytest.raises(WeightsError, match=r"faceres-deep\.bin cannot be read"):
        load_faceres(trunk, alone, *IMAGENET)
    alone.with_suffix(".bin").write_bytes(written.with_suffix(".bin").read_bytes()[:-8])
    with pytest.raises(WeightsError, match=r"bytes, but it lists"):
        load_faceres(trunk, alone, *IMAGENET)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weightsManifest": 3}', '{"weightsManifest": [{"weights": []}]}'])
def test_another_file_is_refused(trunk, tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"other\.json is not the JSON file of a TensorFlow\.js model"):
        load_faceres(trunk, path, *IMAGENET)


def test_quantised_weights_are_refused(trunk, written, tmp_path):
    model = json.loads(written.read_text())
    model["weightsManifest"][0]["weights"][3]["quantization"] = {"dtype": "uint8", "min": 0, "scale": 1}
    path = tmp_path / "faceres-deep.json"
    path.write_text(json.dumps(model))
    path.with_suffix(".bin").write_bytes(written.with_suffix(".bin").read_bytes())
    with pytest.raises(WeightsError, match="quantised"):
        load_faceres(trunk, path, *IMAGENET)


def test_weights_of_another_network_are_refused(trunk, tmp_path):
    with pytest.raises(WeightsError, match="does not hold the weights of faceres: 'conv_pw_13_bn"):
        load_faceres(trunk, write(tmp_path, WIDTHS[:12]), *IMAGENET)


@pytest.mark.parametrize("name", ["mobilenetv1_125", "tf_efficientnet_lite0"])
def test_another_trunk_is_refused(written, name):
    other = timm.create_model(name, num_classes=0)
    with pytest.raises(WeightsError, match=r"mobilenetv1_100 as the image tower, but this one has [a-z0-9_.]+ \("):
        load_faceres(other, written, *IMAGENET)


TOWER = {"vision_cfg": {"timm_model_name": "mobilenetv1_100", "timm_pool": "avg"}}
MODEL = {
    "clip": {"architecture": {**ARCHITECTURE, **TOWER}},
    "images": {"size": 64, "mean": list(IMAGENET[0]), "std": list(IMAGENET[1])},
}


def test_a_recipe_loads_it_by_its_path(trunk, written):
    recipe = Recipe.model_validate({**RECIPE, "data": "p", "model": MODEL, "image_init": {"faceres": str(written)}})
    model = build_network(recipe.model)
    init_image(model, recipe)
    load_faceres(trunk, written, *IMAGENET)
    filled = model.image.visual.trunk.state_dict()
    assert all(torch.equal(filled[name], value) for name, value in trunk.state_dict().items())


def test_only_timm_towers_support_image_init(written):
    recipe = Recipe.model_validate({**RECIPE, "data": "p", "image_init": {"faceres": str(written)}})
    with pytest.raises(WeightsError, match="image_init needs an image tower of timm's"):
        init_image(build_network(recipe.model), recipe)


def test_a_run_whose_start_is_missing_is_refused_before_anything_is_done(recipe_file, tmp_path, capsys):
    path = recipe_file("nowhere", model=MODEL, image_init={"faceres": str(tmp_path / "faceres-deep.json")})
    assert main(["train", str(path), str(tmp_path / "out")]) == 2
    assert "faceres-deep.json cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

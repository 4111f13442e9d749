"""SFace in torch, compared with ONNX Runtime on its file."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from skimage.data import astronaut

from cilf.models.clip import WeightsError
from cilf.models.sface import SIDE, STEM, WIDTHS
from cilf.training.sface import load_sface

onnx = pytest.importorskip("onnx")
helper = onnx.helper

FILE = Path(__file__).parents[2] / "weights" / "face_recognition_sface_2021dec_int8bq.onnx"


class Graph:
    """An ONNX model in the layout of SFace's file, with random weights."""

    def __init__(self):
        self.draw = np.random.default_rng(0)
        self.nodes, self.tensors = [], []

    def tensor(self, name, values):
        self.tensors.append(onnx.numpy_helper.from_array(values, name))
        return name

    def node(self, kind, output, *inputs, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def kernel(self, name, *shape):
        """A kernel in blocks of 64 bytes, or in one block where it is smaller."""
        row = int(np.prod(shape[1:]))
        block = 64 if row % 64 == 0 else row
        parts = {
            "quantized": self.draw.integers(-127, 128, (shape[0], row)).astype(np.int8),
            "scales": self.draw.uniform(0.5, 1.5, (shape[0], row // block)).astype(np.float32)
            / 73
            / np.float32(row**0.5),
            "zero_point": self.draw.integers(-3, 4, (shape[0], row // block)).astype(np.int8),
        }
        inputs = [self.tensor(f"{name}_{part}", values) for part, values in parts.items()]
        flat = self.node("DequantizeLinear", f"{name}_dequantized", *inputs, axis=1, block_size=block)
        return self.node("Reshape", f"{name}_reshaped", flat, self.tensor(f"{name}_shape", np.array(shape)))

    def convolution(self, name, x, inputs, outputs, kernel, stride=1, group=1):
        weight = self.kernel(f"{name}_conv2d_weight", outputs, inputs // group, kernel, kernel)
        padding = [kernel // 2] * 4
        x = self.node("Conv", f"{name}_conv2d", x, weight, group=group, strides=[stride] * 2, pads=padding)
        ranges = {"gamma": (1, 2), "beta": (-1, 1), "moving_mean": (-1, 1), "moving_var": (0.5, 2)}
        norms = [
            self.tensor(f"{name}_batchnorm_{part}", self.draw.uniform(*ends, outputs).astype(np.float32))
            for part, ends in ranges.items()
        ]
        x = self.node("BatchNormalization", f"{name}_batchnorm", x, *norms, epsilon=1e-3)
        slope = self.tensor(f"{name}_relu_gamma", self.draw.uniform(0, 0.5, (outputs, 1, 1)).astype(np.float32))
        return self.node("PRelu", f"{name}_relu", x, slope)

    def write(self, path, output):
        data = helper.make_tensor_value_info("data", 1, [1, 3, SIDE, SIDE])
        outputs = [helper.make_tensor_value_info(output, 1, None)]
        graph = helper.make_graph(self.nodes, "sface", [data], outputs, self.tensors)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    graph = Graph()
    x = graph.node("Sub", "less", "data", graph.tensor("scalar_op1", np.array([127.5], np.float32)))
    x = graph.node("Mul", "times", x, graph.tensor("scalar_op2", np.array([1 / 128], np.float32)))
    x = graph.convolution("conv_1", x, 3, STEM, 3)
    width = STEM
    for number, wider in enumerate(WIDTHS, start=2):
        stride = 2 if number in (3, 5, 7, 13) else 1
        x = graph.convolution(f"conv_{number}_dw", x, width, width, 3, stride, group=width)
        x, width = graph.convolution(f"conv_{number}", x, width, wider, 1), wider
    path = tmp_path_factory.mktemp("sface") / "sface.onnx"
    graph.write(path, x)
    return path


def interpret(path, pixels_1CHW):
    """SFace's maps of 14 and of 7 cells per side, computed by ONNX Runtime."""
    model = onnx.load(path)
    # Weights are listed as inputs too, which keeps ONNX Runtime from folding them.
    images = [given for given in model.graph.input if given.name == "data"]
    del model.graph.input[:], model.graph.output[:]
    model.graph.input.extend(images)
    maps = ["conv_12_relu", "conv_14_relu"]
    model.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in maps)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return [torch.tensor(found) for found in session.run(maps, {"data": pixels_1CHW.numpy()})]


def face():
    """The astronaut's face, approximately in ArcFace's frame."""
    pixels = torch.tensor(astronaut()[0:208, 118:326]).permute(2, 0, 1)[None].float()
    return torch.nn.functional.interpolate(pixels, size=SIDE, mode="bilinear", antialias=True)


def largest_difference(path):
    """The largest difference of each map, and its largest value."""
    found, expected = load_sface(path)(face()), interpret(path, face())
    assert [tuple(each.shape) for each in expected] == [(1, 512, 14, 14), (1, 1024, 7, 7)]
    return [((a - b).abs().max().item(), b.abs().max().item()) for a, b in zip(found, expected, strict=True)]


@torch.inference_mode()
def test_it_equals_the_network_in_the_file():
    if not FILE.is_file():
        pytest.skip(f"no weights/{FILE.name}: `make weights` gets it")
    assert all(difference < 1e-4 and largest > 1 for difference, largest in largest_difference(FILE))


@torch.inference_mode()
def test_any_weights_in_its_layout_become_the_same_function(written):
    found = largest_difference(written)
    assert all(difference < 1e-5 * largest and 1 < largest < 1000 for difference, largest in found)


def test_a_missing_or_other_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.onnx cannot be read: No such file.*make weights"):
        load_sface(tmp_path / "nowhere.onnx")
    path = tmp_path / "other.onnx"
    path.write_bytes(b"these are no weights")
    with pytest.raises(WeightsError, match=r"other\.onnx is not an ONNX file"):
        load_sface(path)
    graph = Graph()
    graph.write(path, graph.convolution("conv_1", "data", 3, 8, 3))
    with pytest.raises(WeightsError, match=r"other\.onnx does not hold the weights of SFace"):
        load_sface(path)

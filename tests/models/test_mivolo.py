"""Face and body in one network: streams, sizes, missing crops and the loss with unknown sexes."""

import math

import pytest
import torch
from timm.models.volo import VOLO

from cilf.ages import AgeSpace
from cilf.errors import UsageError
from cilf.models.mivolo import Enhancer, FaceBody, MiVoloHead, hide_one
from cilf.models.settings import MiVolo
from cilf.models.system import Step

AGES = AgeSpace(10, 60)


def tiny(body: bool) -> MiVolo:
    return MiVolo(body=body, layers=(1, 1, 1, 1), widths=(8, 16), heads=(2, 2))


def network(body: bool) -> tuple[FaceBody, MiVoloHead]:
    torch.manual_seed(0)
    backbone = FaceBody(tiny(body), 32)
    return backbone, MiVoloHead(backbone.channels, AGES, tiny(body))


@pytest.mark.parametrize("body", [False, True])
def test_it_learns_with_all_its_parts(body):
    backbone, head = network(body)
    faces, ages = torch.randn(6, 3, 32, 32), torch.tensor([12.0, 20, 33, 41, 52, 60])
    bodies = torch.randn(6, 3, 32, 32) if body else None
    sexes = torch.tensor([0, 1, 1, 0, -1, 1])
    parameters = [*backbone.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, 3e-3)
    losses = []
    for _ in range(40):
        loss, parts = head.loss(head(backbone(faces, bodies)), ages, Step(0, 1), sexes)
        assert set(parts) == {"l1", "sex"}
        optimiser.zero_grad()
        loss.backward()
        idle = [n for m in (backbone, head) for n, p in m.named_parameters() if p.grad is None or not p.grad.any()]
        assert not idle
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("body", [False, True])
def test_the_network_without_bodies_is_timms_volo(body):
    backbone, head = network(False)
    settings = tiny(False)
    volo = VOLO(list(settings.layers), 32, num_classes=3, embed_dims=[8, 16, 16, 16], num_heads=[2, 2, 2, 2]).eval()
    backbone.load_volo(volo.state_dict())
    head.head.load_state_dict(volo.head.state_dict())
    head.cells.load_state_dict(volo.aux_head.state_dict())
    faces = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(head(backbone.eval()(faces)), volo(faces))
    if body:
        both, _ = network(True)
        both.load_volo(volo.state_dict())
        for key, value in both.body_stem.state_dict().items():
            assert torch.equal(value, both.face_stem.state_dict()[key])


def test_weights_of_another_network_are_refused():
    backbone, _ = network(True)
    other = VOLO([1, 2, 1, 1], 32, num_classes=0, embed_dims=[8, 16, 16, 16], num_heads=[2, 2, 2, 2])
    with pytest.raises(UsageError, match="not of a VOLO"):
        backbone.load_volo(other.state_dict())


def test_bodies_are_given_where_they_belong():
    faces = torch.randn(2, 3, 32, 32)
    with pytest.raises(UsageError, match="no bodies"):
        network(True)[0](faces)
    with pytest.raises(UsageError, match="given bodies"):
        network(False)[0](faces, faces)


@torch.no_grad()
def test_enhancer_is_cross_attention_both_ways():
    torch.manual_seed(0)
    enhance = Enhancer(4, 3)
    torch.nn.init.normal_(enhance.face_bias.relative_position_bias_table)
    face, body = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    own, theirs = (conv(x).double()[0].flatten(1).T for conv, x in ((enhance.face_qkv, face), (enhance.body_qkv, body)))
    bias = enhance.face_bias.get_bias().double()[0, 0]
    mixed = torch.zeros(9, 4, dtype=torch.float64)
    for i in range(9):
        scores = [float(own[i, :4] @ theirs[j, 4:8]) / math.sqrt(4) + float(bias[i, j]) for j in range(9)]
        powers = [math.exp(s) for s in scores]
        for j in range(9):
            mixed[i] += powers[j] / sum(powers) * theirs[j, 8:]
    seen = {}
    enhance.norm.register_forward_hook(lambda _, inputs, __: seen.update(both=inputs[0]))
    assert enhance(face, body).shape == face.shape
    torch.testing.assert_close(seen["both"][0, :4].flatten(1).T.double(), mixed, atol=1e-5, rtol=1e-4)


def test_loss_masks_unknown_sexes():
    _, head = network(False)
    out, ages = torch.tensor([[2.0, 0, 0.1], [1, 3, -0.2], [0, 9, 0.5]]), torch.tensor([35.0, 20, 70])
    known = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    l1 = (0.1 + abs(-0.2 + 0.3) + 0) / 3
    loss, _ = head.loss(out, ages, Step(0, 1), torch.tensor([0, 0, -1]))
    assert loss.item() == pytest.approx(l1 + 0.1 * known, rel=1e-5)
    nobody, _ = head.loss(out, ages, Step(0, 1), torch.full((3,), -1))
    assert nobody.item() == pytest.approx(l1, rel=1e-5)
    torch.testing.assert_close(head.decode(out).age_B, torch.tensor([40.0, 25, 60]))


def test_one_crop_at_most_is_hidden():
    torch.manual_seed(0)
    black = torch.tensor([-2.0, -1.5, -1.0])
    faces, bodies = torch.ones(2000, 3, 2, 2), torch.ones(2000, 3, 2, 2)
    faces, bodies = hide_one(faces, bodies, black)
    no_face, no_body = (x[:, 0, 0, 0] == -2 for x in (faces, bodies))
    assert not (no_face & no_body).any()
    assert abs(no_body.float().mean() - 0.3) < 0.04
    assert abs(no_face.float().mean() - 0.1) < 0.03
    torch.testing.assert_close(faces[no_face][0, :, 1, 1], black)

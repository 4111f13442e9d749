"""Face and body in one network: streams, sizes, missing crops and the loss with unknown sexes."""

import math

import pytest
import torch
from timm.models.volo import VOLO

from cilf.age_space import AgeSpace
from cilf.card import Images, Model
from cilf.errors import UsageError
from cilf.models import mivolo
from cilf.models.mivolo import Enhancer, FaceBody, MiVoloHead, hide_one
from cilf.models.settings import MiVolo
from cilf.models.system import Step

AGES = AgeSpace(10, 60)


TINY = MiVolo(layers=(1, 1, 1, 1), widths=(8, 16), heads=(2, 2))


def network(body: bool) -> tuple[FaceBody, MiVoloHead]:
    torch.manual_seed(0)
    backbone = FaceBody(TINY, Images(size=32, body=body))
    return backbone, MiVoloHead(backbone.channels, AGES, TINY)


@pytest.mark.parametrize("body", [False, True])
def test_it_learns_with_all_its_parts(body, monkeypatch):
    # Six rows can be memorised if they stay the same.
    monkeypatch.setattr(mivolo, "hide_one", lambda face, body, black: (face, body))
    backbone, head = network(body)
    faces, ages = torch.randn(6, 6 if body else 3, 32, 32), torch.tensor([12.0, 20, 33, 41, 52, 60])
    sexes = torch.tensor([0, 1, 1, 0, -1, 1])
    parameters = [*backbone.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, 3e-3)
    losses = []
    for _ in range(40):
        loss, parts = head.loss(head(backbone(faces)), ages, Step(0, 1), sexes)
        assert set(parts) == {"l1", "sex"}
        optimiser.zero_grad()
        loss.backward()
        idle = [n for m in (backbone, head) for n, p in m.named_parameters() if p.grad is None or not p.grad.any()]
        assert not idle
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0], losses


@pytest.mark.parametrize("body", [False, True])
def test_the_network_without_bodies_equals_timms_volo(body):
    backbone, head = network(False)
    volo = VOLO(list(TINY.layers), 32, num_classes=3, embed_dims=[8, 16, 16, 16], num_heads=[2, 2, 2, 2]).eval()
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
    with pytest.raises(UsageError, match="do not fit the VOLO"):
        backbone.load_volo(other.state_dict())


@torch.no_grad()
def test_bodies_are_used_and_hidden_only_in_training():
    backbone, _ = network(True)
    both = torch.randn(2, 6, 32, 32)
    other_body = torch.cat([both[:, :3], torch.randn(2, 3, 32, 32)], dim=1)
    backbone.eval()
    assert torch.equal(backbone(both).pooled_BC, backbone(both).pooled_BC)
    assert not torch.allclose(backbone(both).pooled_BC, backbone(other_body).pooled_BC)
    backbone.train()
    torch.manual_seed(0)
    seen = [backbone(both).pooled_BC for _ in range(8)]
    assert any(not torch.equal(seen[0], other) for other in seen)


def test_no_other_system_uses_bodies():
    with pytest.raises(ValueError, match="only the system mivolo"):
        Model(images=Images(body=True))
    assert Model(system=MiVolo(), images=Images(body=True)).images.shape == (224, 224, 6)


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

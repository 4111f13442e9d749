"""A teacher: frozen networks that know faces, with age heads that say how old each face to learn from looks.

A label is one number, and of a group not even that. How likely the ages around it are for this face, the heads have
learned from all other faces (knowledge distillation, Hinton et al. 2015, arXiv 1503.02531). They are fitted out of
fold: nobody is judged by a head that has seen them, or the teacher would only repeat the labels.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import timm
import torch
from torch import Tensor, nn

from cilf.age_space import AgeSpace
from cilf.card import Images
from cilf.models.pixels import Normalise
from cilf.models.second import SecondNetwork, age_head
from cilf.own_process import prepare
from cilf.training.age_head import HeadRows, fit_age_head, head_targets
from cilf.training.balance import bounds
from cilf.training.calibrate import crops
from cilf.training.epochs import TAUGHT, Drawn, Views
from cilf.training.faceres import load_faceres
from cilf.training.recipe import Recipe
from cilf.training.rows import subject_keys
from cilf.training.sface import load_sface
from cilf.training.sources import TASK_CPUS

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)

FOLDS = 5
"""Heads; each is fitted to the faces of the other folds."""
FACES = 40_000
"""So many faces, on average, the heads are fitted to."""
SEEN = "seen"
"""Column of the features that heads are fitted to, float16 [F] in each row."""
_BATCH = 64
_LEAST = 1e-6
"""Added to the posterior of each class, which else may be 0 all over a group."""


class TeacherNetwork(nn.Module):
    """SFace and the whole of faceres side by side, frozen: crops as the first network sees them -> features.

    Args:
        images: how the first network sees crops.
        ages: the classes of the posterior.
        sface: path of SFace's weights.
        faceres: path of those of faceres.

    Raises:
        WeightsError: weights that cannot be had, or that are of another network.
    """

    def __init__(self, images: Images, ages: AgeSpace, sface: Path, faceres: Path) -> None:
        super().__init__()
        self.normalise = Normalise(images)
        self.people = SecondNetwork(images, ages)
        self.people.sface.load_state_dict(load_sface(sface).state_dict())
        self.faces = timm.create_model("mobilenetv1_100", num_classes=0)
        load_faceres(self.faces, faceres, images.mean, images.std)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, images_BHWC: Tensor) -> Tensor:
        """uint8 [B, S, S, C] -> float32 [B, F]; faces are all that it looks at."""
        pixels_BCHW = self.normalise(images_BHWC)[:, :3].contiguous(memory_format=torch.channels_last)
        return torch.cat([self.people.features(pixels_BCHW).float(), self.faces(pixels_BCHW).float()], dim=1)


def teacher_network(recipe: Recipe) -> TeacherNetwork | None:
    """The network that the recipe names, if any.

    Raises:
        WeightsError: weights that cannot be had, or that are of another network.
    """
    if recipe.teacher is None:
        return None
    sface, faceres = Path(recipe.teacher.sface), Path(recipe.teacher.faceres)
    return TeacherNetwork(recipe.model.images, recipe.model.ages.space, sface, faceres)


def taught(rows: Dataset, network: nn.Module, recipe: Recipe, weights_K: np.ndarray) -> Dataset:
    """Rows to learn from with a column TAUGHT, in Ray's object store.

    Each row goes through the network once, in tasks; heads are fitted here, to FACES of them at most.

    Args:
        rows: cilf.training.examine.ROW and more.
        network: a TeacherNetwork.
        recipe: the run.
        weights_K: float32: weight of a row by its age in whole years, from 0 on. The first network learns a posterior
            of rows that count so, and the teacher's is made one.
    """
    import ray

    images, ages, oldest = recipe.model.images, recipe.model.ages.space, recipe.model.ages.oldest
    weights_K = weights_K[ages.youngest : ages.oldest + 1]
    task: dict[str, Any] = {"batch_format": "pyarrow", "num_cpus": TASK_CPUS}
    look = _Look(ray.put(network), images, recipe.dtype)
    seen = rows.map_batches(look, batch_size=_BATCH, batch_format="pyarrow", num_cpus=1).materialize()
    drawn = seen.map_batches(Drawn(min(1.0, FACES / max(1, seen.count()))), batch_size=None, **task)
    drawn = drawn.map_batches(_without_images, batch_size=None, **task)
    table = pa.concat_tables(drawn.iter_batches(batch_size=None, batch_format="pyarrow"))
    logger.info("fitting the teacher's %d age heads to %d faces", FOLDS, len(table))
    heads = fit_heads(table, ages, oldest, recipe.seed)
    judge = partial(judged, heads=heads, weights_K=weights_K, ages=ages, oldest=oldest)
    return seen.map_batches(judge, batch_size=None, **task).materialize()


@dataclass(frozen=True)
class _Look:
    """Rows -> the same with the features of their faces, as labelling sees them; in a task."""

    network: Any
    """Reference to a TeacherNetwork."""
    images: Images
    dtype: torch.dtype

    def __call__(self, table: pa.Table) -> pa.Table:
        import ray

        prepare()
        faces_NHWC = torch.from_numpy(crops(table, Views(self.images, np.ones(0, np.float32), None)))
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            features_NF = ray.get(self.network)(faces_NHWC)
        return table.append_column(SEEN, _column(features_NF.half().numpy()))


def fit_heads(table: pa.Table, ages: AgeSpace, oldest: float, seed: int) -> list[nn.Sequential]:
    """An age head for each fold, fitted to the faces of the other folds.

    Args:
        table: ROW without images, with a column SEEN of features.
        ages: the classes.
        oldest: last year of a group that has none.
        seed: of the heads.
    """
    features_NF = torch.from_numpy(_matrix(table[SEEN]).astype(np.float32))
    low_N, high_N = (torch.from_numpy(bound_N) for bound_N in bounds(table, oldest))
    rows = HeadRows(features_NF, head_targets(ages, low_N, high_N), low_N == high_N)
    fold_N, heads = torch.from_numpy(folds(table)), []
    for fold in range(FOLDS):
        head = age_head(features_NF.shape[1], len(ages))
        fit_age_head(head, HeadRows(*(column[fold_N != fold] for column in rows)), seed + fold)
        heads.append(head)
    return heads


@torch.inference_mode()
def judged(
    table: pa.Table, heads: list[nn.Sequential], weights_K: np.ndarray, ages: AgeSpace, oldest: float
) -> pa.Table:
    """Rows with SEEN -> rows with TAUGHT instead, by the head of their fold.

    Args:
        table: ROW with SEEN.
        heads: one for each fold.
        weights_K: float32 [K], of the classes: the posterior is multiplied by them.
        ages: the classes.
        oldest: last year of a group that has none. Of a group, TAUGHT is the posterior inside it.
    """
    features_NF = torch.from_numpy(_matrix(table[SEEN]).astype(np.float32))
    fold_N = folds(table)
    posterior_NK = torch.zeros(len(table), len(ages))
    for fold, head in enumerate(heads):
        posterior_NK[fold_N == fold] = head(features_NF[fold_N == fold]).softmax(dim=1)
    low_N, high_N = (torch.from_numpy(bound_N) for bound_N in bounds(table, oldest))
    inside_NK = (head_targets(ages, low_N, high_N) > 0) | (low_N == high_N)[:, None]
    posterior_NK = (posterior_NK + _LEAST) * torch.from_numpy(weights_K) * inside_NK
    posterior_NK /= posterior_NK.sum(dim=1, keepdim=True)
    return table.drop_columns([SEEN]).append_column(TAUGHT, _column(posterior_NK.numpy()))


def folds(table: pa.Table) -> np.ndarray:
    """The fold of each row, int64 [N]: all rows of a person are in one."""
    return np.array([zlib.crc32(key.encode()) % FOLDS for key in subject_keys(table).to_pylist()], np.int64)


def _without_images(table: pa.Table) -> pa.Table:
    return table.drop_columns(["image", "body"])


def _column(values_NM: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values_NM.ravel()), values_NM.shape[1])


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A column that `_column` has made, [N, M]."""
    lists = column.combine_chunks()
    return lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), lists.type.list_size)

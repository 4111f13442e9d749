"""The isotonic map from raw judged error to years, fitted on labelled rows."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

_BIN_ROWS = 30
_MOST_BINS = 20


def isotonic_knots(raw_N: Tensor, error_N: Tensor) -> Tensor:
    """Knots of the monotone map from raw to expected error, float32 [2, 20]: a row of x and a row of y, years.

    Pool-adjacent-violators on bins of 30 rows or more, then a line through the centres of its blocks (centred
    isotonic regression, Oron & Flournoy 2017): steps would give thousands of rows the same error, and no ε could
    separate them. Unused knots extend the last one to the right.
    """
    order = raw_N.argsort(stable=True).cpu().numpy()
    raw, error = raw_N.double().cpu().numpy(), error_N.double().cpu().numpy()
    bins = np.array_split(order, min(max(2, len(order) // _BIN_ROWS), _MOST_BINS))
    x = np.array([raw[rows].mean() for rows in bins])
    sizes = np.array([len(rows) for rows in bins])
    fitted = IsotonicRegression().fit(x, [error[rows].mean() for rows in bins], sample_weight=sizes)
    y = fitted.predict(x)
    levels = np.unique(y)
    centres = np.array([np.average(x[y == level], weights=sizes[y == level]) for level in levels])
    unused = _MOST_BINS - len(levels)
    centres = np.concatenate([centres, centres[-1] + 1 + np.arange(unused)])
    levels = np.concatenate([levels, np.repeat(levels[-1], unused)])
    return torch.tensor(np.stack([centres, levels]), dtype=torch.float32, device=raw_N.device)

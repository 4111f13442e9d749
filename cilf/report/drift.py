"""Whether the newest ages are distributed as before: PSI and KS, and a verdict that chance cannot raise.

Both are taken from histograms, so that no face has to be kept. The population stability index of two sets of shares is
PSI = Σ (p - q) ln(p / q), the symmetric Kullback-Leibler divergence; without drift it is distributed as
χ²(B - 1) (1/n + 1/m) for B bins of n and m faces (Yurdakul and Naranjo, "Statistical properties of the population
stability index", 2020). The two-sample statistic of Kolmogorov and Smirnov is the largest gap between two cumulative
distributions; its critical value at level α is √(-ln(α/2)/2 · (n + m) / (n m)). Seen through bins the gap can only be
smaller, so the level holds.

Runs are judged one after another, and one that has drifted is not among those that later ones are compared with: for as
long as it were, the usual runs after it would differ from it and their like together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2

EDGES = tuple(range(0, 90, 10))
"""Lower ends of the bins of PSI, years: ten years each, and 80 and older."""
LARGE = 0.2
"""PSI above this is drift worth acting on, by the usual rule."""
LEVEL = 0.001
"""Of nights without drift, at most this share is outside by chance."""
FEWEST = 30
"""Faces on either side; with fewer nothing is said."""

RULE = (
    f"Drift is raised where two statistics agree: PSI over ten-year bins (0-9, 10-19, … 70-79, 80 and older) is above "
    f"{LARGE} and above what chance alone gives in 1 of {1 / LEVEL:,.0f} nights, and KS, the largest gap between the "
    f"two cumulative distributions, is above its critical value at the level {LEVEL}. A run that has drifted is not "
    "among those that later ones are compared with, and a later one like it is not raised again. With fewer than "
    f"{FEWEST} faces on either side nothing is said."
)


@dataclass(frozen=True)
class Drift:
    """Two histograms of ages compared."""

    now: int
    """Newest faces."""
    before: int
    """Those that they are compared with."""
    psi: float
    psi_by_chance: float
    """What PSI exceeds with probability LEVEL where nothing has drifted."""
    ks: float
    ks_by_chance: float
    shift: float
    """Mean age now less the mean age before, years."""
    known: bool = False
    """Whether an earlier run has drifted to ages like these."""

    @property
    def enough(self) -> bool:
        """Whether there are faces enough to say anything."""
        return min(self.now, self.before) >= FEWEST

    @property
    def raised(self) -> bool:
        """Whether this is drift, by RULE, and news."""
        return self.differs and not self.known

    @property
    def differs(self) -> bool:
        """Whether these ages are others than before."""
        significant = self.psi > self.psi_by_chance and self.ks > self.ks_by_chance
        return self.enough and significant and self.psi > LARGE

    @property
    def verdict(self) -> str:
        """In words."""
        if not self.enough:
            return f"Too few faces to compare: {self.now:,} now, {self.before:,} before."
        direction = "older" if self.shift > 0 else "younger"
        mean = f"faces are {abs(self.shift):.1f} years {direction} on average"
        if self.raised:
            return f"Drift: the newest ages differ from those before; {mean}."
        if self.differs:
            return f"No new drift: the newest ages differ from the usual ones as an earlier run's did; {mean}."
        if self.ks > self.ks_by_chance:
            return f"No drift, but a shift that is more than chance; {mean}."
        return "No drift: the newest ages differ from those before by no more than chance."


def compare(now: Sequence[int], before: Sequence[int], per_year: int) -> Drift:
    """Compare two histograms of ages.

    Args:
        now, before: faces by bin of age, `per_year` bins to the year, from 0 on.
    """
    now_B, before_B = np.asarray(now, np.float64), np.asarray(before, np.float64)
    n, m = now_B.sum(), before_B.sum()
    if not n or not m:
        return Drift(int(n), int(m), 0.0, math.inf, 0.0, math.inf, 0.0)
    centres_B = (np.arange(len(now_B)) + 0.5) / per_year
    gap_B = np.cumsum(now_B) / n - np.cumsum(before_B) / m
    each = 1 / n + 1 / m
    return Drift(
        now=int(n),
        before=int(m),
        psi=_psi(now_B, before_B, per_year),
        psi_by_chance=float(chi2.isf(LEVEL, len(EDGES) - 1) * each),
        ks=float(np.abs(gap_B).max()),
        ks_by_chance=math.sqrt(-math.log(LEVEL / 2) / 2 * each),
        shift=float(now_B @ centres_B / n - before_B @ centres_B / m),
    )


def judge(runs: Sequence[Sequence[int]], previous: int, per_year: int) -> tuple[list[int], Drift]:
    """Judge runs one after another.

    Args:
        runs: histograms of ages as for `compare`, oldest first.
        previous: usual runs that each is compared with, at most, the newest.

    Returns:
        Which of the runs the last one is compared with, by index; and how it compares.
    """
    usual: list[int] = []
    drifted: list[int] = []
    for number, now in enumerate(runs):
        compared = usual[-previous:]
        before = [sum(faces) for faces in zip(*(runs[index] for index in compared), strict=True)]
        drift = compare(now, before, per_year)
        if drift.differs:
            known = any(not compare(now, runs[index], per_year).differs for index in drifted[-previous:])
            drift = replace(drift, known=known)
        (drifted if drift.differs else usual).append(number)
    return compared, drift


def _psi(now_B: np.ndarray, before_B: np.ndarray, per_year: int) -> float:
    starts = np.array(EDGES) * per_year
    # Half a face more in every bin: an empty one would make the logarithm infinite.
    p, q = (np.add.reduceat(counts_B, starts) + 0.5 for counts_B in (now_B, before_B))
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())

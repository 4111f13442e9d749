"""Drift of the newest ages against earlier ones: PSI, KS, and a verdict that chance alone does not trigger.

Both are taken from histograms, so that no face has to be kept. The population stability index of two sets of shares is
PSI = Σ (p - q) ln(p / q), the symmetric Kullback-Leibler divergence; without drift it is distributed as
χ²(B - 1) (1/n + 1/m) for B bins of n and m faces (Yurdakul and Naranjo, "Statistical properties of the population
stability index", 2020). The two-sample statistic of Kolmogorov and Smirnov is the largest gap between two cumulative
distributions; its critical value at level α is √(-ln(α/2)/2 · (n + m) / (n m)). Binning can only make the gap smaller,
so the level holds.

Runs are judged one after another, and later runs are not compared with one that has drifted: as long as it was among
the runs before, usual runs after it would differ from the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2

EDGES = tuple(range(0, 90, 10))
"""Lower edges of the bins of PSI, in years: ten years each, and 80 and older."""
LARGE = 0.2
"""PSI above this is drift worth acting on, by the usual rule."""
LEVEL = 0.001
"""Largest share of nights without drift in which chance alone exceeds a limit."""
FEWEST = 30
"""Fewest faces on either side for a verdict."""

RULE = (
    f"Drift is reported if two statistics agree: PSI over ten-year bins (0-9, 10-19, … 70-79, 80 and older) is above "
    f"{LARGE} and above what chance alone gives in 1 of {1 / LEVEL:,.0f} nights, and KS, the largest gap between the "
    f"two cumulative distributions, is above its critical value at the level {LEVEL}. Later runs are not compared with "
    "a run that has drifted, and a later run like it is not reported again. With fewer than "
    f"{FEWEST} faces on either side there is no verdict."
)


@dataclass(frozen=True)
class Drift:
    """The comparison of two histograms of ages."""

    now: int
    """Number of newest faces."""
    before: int
    """Number of faces that they are compared with."""
    psi: float
    psi_by_chance: float
    """The value that PSI exceeds with probability LEVEL if there is no drift."""
    ks: float
    ks_by_chance: float
    shift: float
    """Mean age now minus mean age before, in years."""
    known: bool = False
    """Whether an earlier run has drifted to ages like these."""

    @property
    def enough(self) -> bool:
        """Whether there are enough faces for a verdict."""
        return min(self.now, self.before) >= FEWEST

    @property
    def raised(self) -> bool:
        """Whether this is drift by RULE, and no earlier run has drifted in the same way."""
        return self.differs and not self.known

    @property
    def differs(self) -> bool:
        """Whether these ages differ from those before."""
        significant = self.psi > self.psi_by_chance and self.ks > self.ks_by_chance
        return self.enough and significant and self.psi > LARGE

    @property
    def verdict(self) -> str:
        """The result in words."""
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
        now, before: number of faces per age bin, `per_year` bins per year, starting at age 0.
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
        previous: most runs, the newest ones without drift, that each run is compared with.

    Returns:
        The indices of the runs that the last run is compared with, and the result of that comparison.
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
    # Half a face is added to every bin: an empty bin would make the logarithm infinite.
    p, q = (np.add.reduceat(counts_B, starts) + 0.5 for counts_B in (now_B, before_B))
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())

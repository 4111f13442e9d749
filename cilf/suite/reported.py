"""Figures that papers report, each under its own protocol: shown below a table, but not comparable with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """A published figure."""

    system: str
    data: str
    """Data set and protocol."""
    figure: str
    source: str


_REFLECT = "Paplhám & Franc, CVPR 2024, their released results"
_CORAL = "mean of 3 seeds at the best validation epoch, from the logs that CORAL's authors released"

REPORTED = (
    Reported("CILF-CIAE", "MORPH, setting S2", "MAE 1.68", "its journal abstract (preprint arXiv 2312.01758)"),
    Reported("MCGRL", "MORPH, setting S2", "MAE 1.77", "arXiv 2306.17798, as CILF-CIAE cites it"),
    Reported("LRA-GNN", "MORPH, setting S2", "MAE 2.21", "arXiv 2502.05423, as CILF-CIAE cites it"),
    Reported("DRF", "MORPH, random split", "MAE 2.17", "CVPR 2018, abstract"),
    Reported("DRF", "MORPH, setting I", "MAE 2.91", "CVPR 2018, abstract"),
    Reported("DRF", "FG-NET, leave one person out", "MAE 3.85", "CVPR 2018, abstract"),
    Reported("CORAL", "MORPH, random split", "MAE 2.64", _CORAL),
    Reported("CORAL", "AFAD, random split", "MAE 3.47", _CORAL),
    Reported("CORAL", "CACD, random split", "MAE 5.25", _CORAL),
    Reported("Classification CNN", "MORPH, five subject-exclusive splits", "MAE 2.81", _REFLECT),
    Reported("Regression CNN", "MORPH, five subject-exclusive splits", "MAE 2.83", _REFLECT),
    Reported("Classification CNN", "UTKFace, all ages, five splits", "MAE 4.38", _REFLECT),
    Reported("Regression CNN", "UTKFace, all ages, five splits", "MAE 4.72", _REFLECT),
    Reported("MiVOLO", "UTKFace, all ages", "MAE 4.23", "its repository"),
    Reported("MiVOLO", "IMDB-clean, face and body", "MAE 4.24", "its repository"),
    Reported("MiVOLO", "Lagenda, face and body", "MAE 3.99, CS(5) 71.3 %", "its repository"),
    Reported("SwinFace", "CLAP 2015", "ε-error 0.22", "arXiv 2308.11509, abstract"),
)
"""Published figures. Those of CORN, OrdinalCLIP, L2RCLIP and the mean-residue loss could not be checked at their
sources, and are missing."""

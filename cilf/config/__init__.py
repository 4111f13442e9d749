"""Options of the jobs: one frozen dataclass per job, with the meaning and unit of every option.

The command line and the YAML files are both built from these classes (see cilf.cli), so a new option only needs
a field.
"""

from cilf.config.data import DataCheckOptions, DataSetName, DataSplitOptions, ProtocolName
from cilf.config.labelling import CompactOptions, FaceMode, LabelOptions, ListOptions, PublishOptions
from cilf.config.machine import BenchOptions, DemoOptions
from cilf.config.models import CardOptions, EvaluateOptions, LopoOptions, SystemName, TrainOptions
from cilf.config.operations import NightlyOptions, ReportOptions
from cilf.config.parameters import DEFAULT_MODEL

__all__ = [
    "DEFAULT_MODEL",
    "BenchOptions",
    "CardOptions",
    "CompactOptions",
    "DataCheckOptions",
    "DataSetName",
    "DataSplitOptions",
    "DemoOptions",
    "EvaluateOptions",
    "FaceMode",
    "LabelOptions",
    "ListOptions",
    "LopoOptions",
    "NightlyOptions",
    "ProtocolName",
    "PublishOptions",
    "ReportOptions",
    "SystemName",
    "TrainOptions",
]

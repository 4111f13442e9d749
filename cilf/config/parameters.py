"""How options are written and checked on the command line, for all jobs."""

from __future__ import annotations

from cyclopts import Parameter
from cyclopts.validators import Number

DEFAULT_MODEL = "cilf-ciae-mobile"

AtLeastOne = Parameter(validator=Number(gte=1))
Positive = Parameter(validator=Number(gt=0))
Flag = Parameter(negative="")
Repeatable = Parameter(negative="")

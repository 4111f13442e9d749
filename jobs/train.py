"""`cilf train` as a script, for `ray job submit --working-dir . -- python jobs/train.py RECIPE OUTPUT`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cilf.cli import main

sys.exit(main(["train", *sys.argv[1:]]))

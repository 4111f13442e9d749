"""`cilf lopo` as a script, for `ray job submit --working-dir . -- python jobs/lopo.py MODEL DATA OUTPUT`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cilf.cli import main

sys.exit(main(["lopo", *sys.argv[1:]]))

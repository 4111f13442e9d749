"""`cilf nightly` as a script, for `ray job submit --working-dir . -- python jobs/nightly.py CONFIG`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cilf.cli import main

sys.exit(main(["nightly", *sys.argv[1:]]))

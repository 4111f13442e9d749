"""`cilf publish` as a script, for `ray job submit --working-dir . -- python jobs/publish.py OUTPUT TABLE`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cilf.cli import main

sys.exit(main(["publish", *sys.argv[1:]]))

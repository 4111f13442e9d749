import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, threading
import torch
from cilf.memory import keep_freed_memory

def layers():
    for _ in range(40):
        for size in (8, 4, 8, 4, 2, 1, 4):
            of_this_layer = torch.ones(size * 500_000)

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
threads = [threading.Thread(target=layers) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str) -> int:
    """Number of pages that the system hands out while two threads fill and free maps as a network does."""
    return int(subprocess.run([sys.executable, "-c", FAULTS, what], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_memory_is_used_again():
    assert faults("keep") < faults("give back") / 4

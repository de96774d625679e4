"""Freed memory that stays at hand, told by the kernel's own counts of page faults and of resident pages."""

import ctypes
import json
import os
import subprocess
import sys

import pytest

from videxplain.passes import memory

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="glibc's malloc"
)

SCRIPT = """
import json, resource, sys, torch
from videxplain.passes import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(256 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

start = resident()
fresh = faults()
memory.keep()
for _ in range(4):
    faults()
print(json.dumps({"fresh": fresh, "kept": faults(), "held": resident() - start}))
memory.give_back()
print(json.dumps({"held": resident() - start}))
"""


def run(**variables: str) -> tuple[dict[str, int], dict[str, int]]:
    """In a process of its own, as `keep` is for good."""
    environment = {name: value for name, value in os.environ.items() if name not in memory._DECIDED}
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    before, after = map(json.loads, output.splitlines())
    return before, after


def test_blocks_are_taken_again_without_faults_until_given_back():
    before, after = run()
    assert before["kept"] < before["fresh"] / 100
    assert before["held"] >= 256 > 64 > after["held"]


@pytest.mark.slow
def test_a_user_who_has_decided_is_left_alone():
    before, _ = run(MALLOC_TRIM_THRESHOLD_="1000000")
    assert before["kept"] == pytest.approx(before["fresh"], rel=0.1)
    assert before["held"] < 64

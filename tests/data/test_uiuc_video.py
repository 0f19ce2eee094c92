"""UIUC Video: what the window sees, which way things move, and that no pixel is in train and test."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from uiuc_files import write_folder

from prune_cli.common.errors import ConfigError, DataError
from prune_cli.data import texture_motion, textures
from prune_cli.data.motion import Schedule
from prune_cli.data.textures import Texture
from prune_cli.data.uiuc_video import MovingWindows, UiucVideo

CLASSES = ["MoveUp", "MoveDown", "MoveLeft", "MoveRight", "RotateLeft", "RotateRight", "ZoomIn", "ZoomOut"]
SIDE, FRAMES = 9, 7  # odd, so that a window has a middle pixel
CENTRE = 40
NOISE_HW = np.random.default_rng(0).integers(0, 256, (81, 81), dtype=np.uint8)
Run = Callable[..., Any]


def watched(
    *actions: str, texture_HW: np.ndarray = NOISE_HW, centre: float = CENTRE, speed: float = 1, frames: int = FRAMES
) -> np.ndarray:
    """What a window sees, (T, 9, 9), that starts in the middle of the texture."""
    schedule = Schedule(8, len(actions), frames)
    chosen_NK = np.array([[CLASSES.index(action) for action in actions]])
    paths = texture_motion.paths(schedule, chosen_NK, speed)
    return texture_motion.sample_windows(texture_HW, centre + paths.moved_NT2, paths.angle_NT, paths.zoom_NT, SIDE)[0]


def crop(x: int, y: int, texture_HW: np.ndarray = NOISE_HW) -> np.ndarray:
    """The 9 × 9 pixels around a place."""
    half = SIDE // 2
    return texture_HW[y - half : y + half + 1, x - half : x + half + 1]


def small(**options: Any) -> UiucVideo:
    return UiucVideo(
        **(
            {
                "frame_size": 8,
                "frames": 5,
                "train_clips_per_class": 6,
                "validation_clips_per_class": 3,
                "test_clips_per_class": 3,
            }
            | options
        )
    )


def of_folder(folder: Path, **options: Any) -> UiucVideo:
    return UiucVideo(**({"frame_size": 8, "frames": 5, "clips_per_image": 1, "textures": str(folder)} | options))


def rows(dataset: UiucVideo, home: Path) -> list[dict[str, str]]:
    with (dataset.folder(home) / "clips.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def path_of(row: dict[str, str]) -> np.ndarray:
    """x, y, angle and magnification at each frame, (T, 4)."""
    return np.array([place.split() for place in row["path"].split("; ")], dtype=float)


# ---- what a window sees


def test_the_classes_have_their_order() -> None:
    assert list(UiucVideo().classes) == CLASSES
    assert list(UiucVideo(actions=4).classes) == CLASSES[:4]


@pytest.mark.parametrize(
    ("action", "step"), [("MoveUp", (0, -1)), ("MoveDown", (0, 1)), ("MoveLeft", (-1, 0)), ("MoveRight", (1, 0))]
)
@pytest.mark.parametrize("speed", [1, 3])
def test_a_window_that_moves_by_whole_pixels_sees_the_crops(action: str, step: tuple[int, int], speed: int) -> None:
    for t, frame in enumerate(watched(action, speed=speed)):
        assert np.array_equal(frame, crop(CENTRE + speed * t * step[0], CENTRE + speed * t * step[1]))


def test_between_pixels_values_are_bilinear() -> None:
    seen = watched("MoveRight", centre=CENTRE + 0.5, speed=0.25)
    four = np.stack([crop(CENTRE + x, CENTRE + y).astype(float) for x in (0, 1) for y in (0, 1)])
    assert np.abs(seen[0] - four.mean(axis=0)).max() <= 0.51
    weights = np.array([0.125, 0.125, 0.375, 0.375])  # a quarter further to the right
    assert np.abs(seen[1] - np.tensordot(weights, four, 1)).max() <= 0.51


@pytest.mark.parametrize("action", ["RotateLeft", "RotateRight"])
def test_turning_by_180_degrees_ends_in_the_flipped_crop(action: str) -> None:
    seen = watched(action)
    assert np.array_equal(seen[0], crop(CENTRE, CENTRE))
    assert np.array_equal(seen[-1], crop(CENTRE, CENTRE)[::-1, ::-1])


def test_a_window_that_turns_left_sees_the_texture_turn_right() -> None:
    """Half-way, after 90° counter-clockwise, the window's upper edge looks to the left."""
    straight = crop(CENTRE, CENTRE)
    assert np.array_equal(watched("RotateLeft")[FRAMES // 2], np.rot90(straight, -1))
    assert np.array_equal(watched("RotateRight")[FRAMES // 2], np.rot90(straight, 1))


def test_zooming_in_shows_half_as_much_and_zooming_out_twice_as_much() -> None:
    wide = NOISE_HW[CENTRE - 8 : CENTRE + 9, CENTRE - 8 : CENTRE + 9]
    assert np.array_equal(watched("ZoomOut")[-1], wide[::2, ::2])
    assert np.array_equal(watched("ZoomIn")[-1][::2, ::2], NOISE_HW[CENTRE - 2 : CENTRE + 3, CENTRE - 2 : CENTRE + 3])
    for action in ("ZoomIn", "ZoomOut"):
        assert np.array_equal(watched(action)[0], crop(CENTRE, CENTRE))


def test_a_known_slope_moves_the_documented_way() -> None:
    y, x = np.mgrid[:81, :81]
    across, down = (2 * x).astype(np.uint8), (2 * y).astype(np.uint8)  # 2 grey levels a pixel
    middle = SIDE // 2
    for action, texture_HW, expected in (
        ("MoveRight", across, 2),
        ("MoveLeft", across, -2),
        ("MoveDown", down, 2),
        ("MoveUp", down, -2),
        ("MoveUp", across, 0),
    ):
        steps = np.diff(watched(action, texture_HW=texture_HW).astype(int), axis=0)
        assert (steps == expected).all()
    turned = watched("RotateLeft", texture_HW=across)[1].astype(int)  # 30° of the window to the left
    assert turned[middle + 1, middle] > turned[middle - 1, middle]  # what was lighter to the right is so below
    for action, slope in (("ZoomIn", 1), ("ZoomOut", 4)):
        last = watched(action, texture_HW=across)[-1].astype(int)
        assert np.diff(last[middle]).tolist() == [slope] * (SIDE - 1)


def test_zooming_is_by_the_same_factor_at_each_step() -> None:
    paths = texture_motion.paths(Schedule(8, 1, 5), np.array([[6], [7]]), 1.0)
    assert paths.zoom_NT == pytest.approx(2.0 ** np.array([[0, 0.25, 0.5, 0.75, 1], [0, -0.25, -0.5, -0.75, -1]]))


def test_a_second_action_goes_on_from_where_the_first_ended() -> None:
    frames = 8
    plain, flipped = watched("MoveUp", frames=5), watched("RotateLeft", "MoveUp", frames=frames)
    assert np.array_equal(flipped[3], crop(CENTRE, CENTRE)[::-1, ::-1])
    for t in range(5):  # along the window's own axes: its frames show the same class
        down = crop(CENTRE, CENTRE + t)[::-1, ::-1]
        assert np.array_equal(flipped[3 + t], down)
        if t:
            assert np.array_equal(plain[t][1:], plain[t - 1][:-1])
            assert np.array_equal(flipped[3 + t][1:], flipped[2 + t][:-1])
    there_and_back = watched("ZoomIn", "ZoomOut", frames=frames)
    assert np.array_equal(there_and_back[-1], there_and_back[0])
    moved = watched("MoveRight", "RotateRight", frames=frames)
    assert np.array_equal(moved[-1], crop(CENTRE + 3, CENTRE)[::-1, ::-1])


def test_a_window_that_moves_the_wrong_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texture_motion, "STEP_A2", -texture_motion.STEP_A2)
    monkeypatch.setattr(texture_motion, "TURN_A", -texture_motion.TURN_A)
    with pytest.raises(AssertionError):
        test_a_window_that_turns_left_sees_the_texture_turn_right()
    with pytest.raises(AssertionError):
        test_a_known_slope_moves_the_documented_way()


# ---- clips


def renderer(parts: dict[str, list[Texture]], **options: Any) -> MovingWindows:
    dataset = UiucVideo(**options)
    speed = dataset._speed([texture for part in parts.values() for texture in part])
    return MovingWindows(
        parts, {}, dataset.classes, dataset.schedule, speed, dataset.frame_size, dataset.noise, dataset.seed
    )


@pytest.mark.parametrize("options", [{}, {"actions_per_clip": 2, "frames": 30}, {"actions": 4, "speed": 2.5}])
def test_there_is_no_black_border_and_every_pixel_comes_from_the_texture(options: dict[str, Any]) -> None:
    white = Texture("white", np.full((100, 90), 255, np.uint8), left=7)
    made = renderer({"train": [white]}, **options)
    chunk = made.render("train", range(0, 400))
    assert chunk.clips_NTHW.min() == 255
    for row in chunk.rows:
        x, y, angle, zoom = np.array([place.split() for place in row[3].split("; ")], dtype=float).T
        radians = np.radians(angle)
        reach = 31 / 2 / zoom * (np.abs(np.cos(radians)) + np.abs(np.sin(radians)))
        assert (x - 7 - reach).min() >= -1e-2
        assert (x - 7 + reach).max() <= 89 + 1e-2
        assert (y - reach).min() >= -1e-2
        assert (y + reach).max() <= 99 + 1e-2


def test_a_texture_of_just_the_size_that_paths_need_is_large_enough() -> None:
    chunk = renderer({"train": [Texture("small", np.full((64, 64), 255, np.uint8))]}).render("train", range(0, 80))
    assert chunk.clips_NTHW.min() == 255
    with pytest.raises(DataError, match="needs 63 px for its paths, and small gives 62"):
        renderer({"train": [Texture("small", np.zeros((62, 90), np.uint8))]})


def test_the_default_speed_is_slower_where_a_texture_has_no_room() -> None:
    parts = {"train": [Texture("small", NOISE_HW)]}
    assert renderer(parts).speed == 1
    assert renderer(parts, frames=100).speed == pytest.approx((80 - 31) / 99)
    with pytest.raises(ConfigError, match="no room for 1 px") as caught:
        renderer(parts, frames=100, speed=1.0)
    assert caught.value.hint == "dataset.speed=0.494 or less"


def test_clips_show_what_the_table_says(tmp_path: Path) -> None:
    """Each frame of a moving window repeats the one before, one pixel further, whatever the start between pixels."""
    dataset = small(noise=0.0)
    dataset.build(tmp_path)
    images, _ = textures.read_all(textures.photographs(), skip=False, workers=1)
    for split in ("train", "validation", "test"):
        clips_NTHW = np.load(dataset.folder(tmp_path) / f"{split}-clips.npy").astype(int)
        for row in (row for row in rows(dataset, tmp_path) if row["split"] == split):
            path, clip = path_of(row), clips_NTHW[int(row["clip"])]
            again = texture_motion.sample_windows(
                images[row["source"]], path[None, :, :2], path[None, :, 2], path[None, :, 3], dataset.frame_size
            )[0]
            assert np.abs(again - clip).max() <= 2  # the table rounds to a thousandth
            assert row["start"] == " ".join(row["path"].split("; ")[0].split()[:2])
            if row["class"] == "MoveDown":
                assert np.abs(clip[1:, :-1] - clip[:-1, 1:]).max() <= 1
            if row["class"] == "MoveLeft":
                assert np.abs(clip[1:, :, 1:] - clip[:-1, :, :-1]).max() <= 1


def test_windows_of_two_splits_share_no_pixel_of_a_photograph(tmp_path: Path) -> None:
    clips = {f"{split}_clips_per_class": 60 for split in ("train", "validation", "test")}
    dataset = small(frame_size=32, frames=10, **clips)
    dataset.build(tmp_path)
    seen: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for row in rows(dataset, tmp_path):
        x, y, angle, zoom = path_of(row).T
        radians = np.radians(angle)
        reach = 31 / 2 / zoom * (np.abs(np.cos(radians)) + np.abs(np.sin(radians)))
        seen[row["split"]].append(
            np.array([(x - reach).min(), (x + reach).max(), (y - reach).min(), (y + reach).max()])
        )
    # bilinear sampling reads no further than the pixel at either end: columns, then rows of 512
    regions = {"train": (0, 319, 0, 409), "validation": (0, 319, 410, 511), "test": (320, 511, 0, 511)}
    for split, (left, right, top, bottom) in regions.items():
        ends = np.array(seen[split])
        for low, high, first, last in ((0, 1, left, right), (2, 3, top, bottom)):
            assert first - 1e-3 <= ends[:, low].min() < first + 20
            assert last - 20 < ends[:, high].max() <= last + 1e-3


@pytest.mark.parametrize("validation", [False, True])
def test_the_regions_of_a_photograph_are_all_of_it_and_do_not_overlap(validation: bool) -> None:
    photograph = np.arange(512 * 512).reshape(512, 512)
    parts = textures.split_photographs({"a": photograph}, validation)
    assert set(parts) == {"train", "test"} | ({"validation"} if validation else set())
    pixels = np.concatenate([part[0].values_HW.ravel() for part in parts.values()])
    assert sorted(pixels.tolist()) == list(range(512 * 512))
    for (texture,) in parts.values():
        assert texture.values_HW[0, 0] == photograph[texture.top, texture.left]


def test_each_class_sees_every_photograph_about_as_often(tmp_path: Path) -> None:
    dataset = small()
    dataset.build(tmp_path)
    seen = [(row["class"], row["source"]) for row in rows(dataset, tmp_path) if row["split"] == "train"]
    assert {seen.count((kind, name)) for kind in CLASSES for name in textures.PHOTOGRAPHS} == {2}


def test_the_number_of_workers_changes_no_byte_and_building_again_finds_it(tmp_path: Path) -> None:
    made = []
    for workers in (1, 3):
        dataset, home = small(actions_per_clip=2, frames=12, workers=workers), tmp_path / str(workers)
        dataset.build(home)
        made.append({path.name: path.read_bytes() for path in dataset.folder(home).iterdir()})
        before = (dataset.folder(home) / "manifest.json").stat().st_mtime_ns
        dataset.build(home)
        assert (dataset.folder(home) / "manifest.json").stat().st_mtime_ns == before
        dataset.verify(home)
    assert made[0] == made[1]
    assert len(made[0]) == 10


# ---- a folder of textures


@pytest.mark.parametrize(("named", "images"), [(False, (28, 4, 8)), (True, (28, 4, 8)), (True, (32, 0, 8))])
def test_a_folder_in_either_layout_gives_so_many_images_of_each_class(
    tmp_path: Path, named: bool, images: tuple[int, int, int]
) -> None:
    greys = write_folder(tmp_path / "uiuc", named=named)
    without = {} if images[1] else {"validation_clips_per_class": 0}
    dataset = of_folder(tmp_path / "uiuc", clips_per_image=2, **without)
    dataset.build(tmp_path)
    of_split = {split: count for split, count in zip(("train", "validation", "test"), images, strict=True) if count}
    sizes = {name: len(split) for name, split in dataset.load(tmp_path).named().items()}
    assert sizes == {split: 2 * count * 8 * 2 for split, count in of_split.items()}
    clips = {split: np.load(dataset.folder(tmp_path) / f"{split}-clips.npy") for split in of_split}
    used: dict[str, list[str]] = {split: [] for split in of_split}
    for row in rows(dataset, tmp_path):
        used[row["split"]].append(row["source"])
        assert (clips[row["split"]][int(row["clip"])] == greys[row["source"]] % 256).all()
    assert len(set().union(*used.values())) == sum(len(set(names)) for names in used.values())
    for split, count in of_split.items():
        assert {used[split].count(name) for name in set(used[split])} == {16}  # two clips of each of eight actions
        for kind in ("T01", "T02"):
            assert len({name for name in used[split] if name.startswith(kind)}) == count


def test_the_images_count_and_not_where_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", kinds=1)
    write_folder(tmp_path / "b", kinds=1, named=True)
    first, second = of_folder(tmp_path / "a"), of_folder(tmp_path / "b")
    assert first.folder(tmp_path) == second.folder(tmp_path)
    assert first.load(tmp_path).digest() == second.load(tmp_path).digest()
    (tmp_path / "b/T01_bark1/T01_07.jpg").write_bytes(b"other")
    assert first.folder(tmp_path) != second.folder(tmp_path)


def test_each_image_is_hashed_once_and_again_where_it_has_changed(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    greys, hashed, original = write_folder(tmp_path / "uiuc", kinds=1), [], textures.sha256

    def watched(path: Path) -> str:
        hashed.append(path.name)
        return original(path)

    monkeypatch.setattr(textures, "sha256", watched)
    words = ["build-data", "dataset=uiuc_video", f"dataset.textures={tmp_path / 'uiuc'}", "dataset.frame_size=8"]
    first = run(*words, "dataset.clips_per_image=1", "--json")
    assert (first.code, sorted(hashed)) == (0, sorted(greys))
    image = tmp_path / "uiuc/T01/T01_07.jpg"
    image.write_bytes(image.read_bytes() + b"more")
    second = run(*words, "dataset.clips_per_image=1", "--json")
    assert (second.code, hashed[len(greys) :]) == (0, ["T01_07.jpg"])
    assert first.json["digest"] != second.json["digest"]


def spoil(folder: Path, kind: str) -> Path:
    path = folder / "T01/T01_07.jpg"
    path.write_bytes(b"this is no picture" if kind == "text" else path.read_bytes()[:-120])
    return path


@pytest.mark.parametrize("kind", ["text", "truncated"])
def test_one_image_that_cannot_be_read_is_named_and_skipped_only_on_request(
    tmp_path: Path, kind: str, run: Run
) -> None:
    write_folder(tmp_path / "uiuc", kinds=1)
    path = spoil(tmp_path / "uiuc", kind)
    home = tmp_path / "home"
    words = ["build-data", "dataset=uiuc_video", f"dataset.textures={tmp_path / 'uiuc'}", "dataset.frame_size=8"]
    refused = run(*words, "dataset.clips_per_image=1", "--data-dir", str(home))
    assert refused.code == 2
    assert refused.lines[1] == f"where: {path}"
    assert "dataset.skip_corrupt=true" in refused.lines[2]
    assert not home.exists()
    answer = run(*words, "dataset.clips_per_image=1", "dataset.skip_corrupt=true", "--data-dir", str(home), "--json")
    assert answer.code == 0
    assert answer.json["images"] == {"train": 224, "validation": 32, "test": 64}  # the others make up for it
    assert "skipped T01_07.jpg" in answer.err
    manifest = json.loads((Path(answer.json["folder"]) / "manifest.json").read_text())
    assert list(manifest["skipped"]) == ["T01_07.jpg"]
    assert "T01_07.jpg" not in (Path(answer.json["folder"]) / "clips.csv").read_text()


def test_folders_that_will_not_do_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        with pytest.raises(DataError, match="no textures here") as caught:
            of_folder(tmp_path / folder).load(tmp_path)
        assert caught.value.where == str(tmp_path / folder)
    write_folder(tmp_path / "few", kinds=1, a_class=39)
    with pytest.raises(DataError, match="39 images of texture T01"):
        of_folder(tmp_path / "few").load(tmp_path)
    write_folder(tmp_path / "twice", kinds=1)
    write_folder(tmp_path / "twice", kinds=1, named=True)
    with pytest.raises(DataError, match="also in"):
        of_folder(tmp_path / "twice").build(tmp_path)
    write_folder(tmp_path / "small", kinds=1)
    with pytest.raises(DataError, match=r"a window of 32 px needs 63 px for its paths, and T01_\d\d.jpg gives"):
        of_folder(tmp_path / "small", frame_size=32).build(tmp_path)
    for path in sorted((tmp_path / "small/T01").iterdir())[8:]:
        path.write_bytes(b"")
    for path in sorted((tmp_path / "small/T01").iterdir())[8:12]:
        Image.fromarray(np.zeros((80, 80), np.uint8)).save(path)
    with pytest.raises(DataError, match="12 images of texture T01 can be read"):
        of_folder(tmp_path / "small", skip_corrupt=True).build(tmp_path)
    assert not (tmp_path / "uiuc_video").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frame_size": 1}, "frame_size is 2 or more"),
        ({"frames": 2}, "3 or more an action"),
        ({"frames": 5, "actions_per_clip": 2}, "3 or more an action"),
        ({"frames": 3, "actions_per_clip": 2, "actions": 4}, "two frames or more"),
        ({"speed": 0.1}, "less than one pixel"),
        ({"clips_per_image": 0}, "clips_per_image is 1 or more"),
        ({"clips_per_image": 3}, "is for a folder"),
        ({"skip_corrupt": True}, "is for a folder"),
        ({"textures": "x", "train_clips_per_class": 3}, "is for the photographs"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        UiucVideo(**options)


def test_a_window_larger_than_its_photograph_is_refused(run: Run, here: Path) -> None:
    answer = run("build-data", "dataset=uiuc_video", "dataset.frame_size=100", "--data-dir", str(here / "d"))
    assert answer.code == 2
    assert answer.lines[0] == "error: a window of 100 px needs 199 px for its paths, and brick.png gives 192"
    answer = run("build-data", "dataset=uiuc_video", "dataset.frame_size=90", "--data-dir", str(here / "d"))
    assert answer.code == 2
    assert answer.lines[0] == "error: a window of 90 px needs 179 px for its paths, and brick.png gives 102"
    assert "dataset.validation_clips_per_class=0" in answer.lines[2]  # which leaves the train region whole
    words = ["dataset=uiuc_video", "dataset.frame_size=90", "dataset.frames=3", "dataset.train_clips_per_class=1"]
    few = ["dataset.test_clips_per_class=1", "dataset.validation_clips_per_class=0", "--data-dir", str(here / "e")]
    assert run("build-data", *words, *few).code == 0
    assert not (here / "d").exists()

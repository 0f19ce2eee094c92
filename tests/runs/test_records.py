"""Plans and records as JSON: back and forth, older ones, keys of newer ones, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from manifests import FIRST, PLAN, PROVENANCE, RESULT

from prune_cli.common.errors import PruneCliError
from prune_cli.runs.files import CHECKSUM, DamagedError, write_checksummed
from prune_cli.runs.identity import run_hash
from prune_cli.runs.json_fields import JsonFields
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import AblationRecord, RunRecord, ScoreRecord, ScoringCost
from prune_cli.runs.store import RunFolder, finished, read_manifest, read_record, write_manifest, write_record

PARTS: dict[str, Any] = {key: FIRST[key] for key in ("config", "mask_digest", "images")}
WEIGHTS: dict[str, Any] = {key: FIRST[key] for key in ("data_digest", "weights_sha256")}
SCORING = {"hash": "ba9876543210", "images": 128, "seconds": 0.5, "peak_memory_bytes": 3}
ROUNDS = {"images": 128, "seconds": 0.5, "peak_memory_bytes": 3, "rounds": 100}
CHOSEN = {"best_epoch": 2, "best_chosen_on": "validation", "validation_last": 92.0, "validation_best": 93.5}
SEEN = {"input": {"channels": 1, "height": 28, "width": 28, "mean": [0.5], "std": [0.25]}}
BEHIND = {"processes": 1, "seconds": 12.5}
FILES = {"files": {"model.safetensors": "c" * 64}, "sha256": "d" * 64}
PACKED = {"files": {"model.safetensors": "c" * 64}, "packed": True, "sha256": "d" * 64}
NOW: dict[str, Any] = {
    **PLAN, "scoring": SCORING, **RESULT, **CHOSEN, **PARTS, **SEEN, **WEIGHTS, **PROVENANCE, **BEHIND
}  # fmt: skip
SCORE = {"hash": "ba9876543210", "identity": {"kind": "score"}, "scorer": "snip", **SCORING, "config": {}, **PROVENANCE}
ABLATION = {
    "hash": "ba9876543210", "identity": {"kind": "ablate"}, "config": {}, "weights_sha256": None, **PROVENANCE
}  # fmt: skip


def without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key not in keys}


TRAINED = without(NOW, "scoring") | {"identity": {"kind": "train"}, "method": "dense"}
WRITTEN: dict[str, tuple[type[JsonFields], dict[str, Any]]] = {
    "a plan": (RunPlan, PLAN),
    "a plan older than targets": (RunPlan, without(PLAN, "removal")),
    "a run": (RunRecord, NOW | FILES),
    "a run scored in rounds": (RunRecord, NOW | {"scoring": ROUNDS} | FILES),
    "a run that scored nothing": (RunRecord, NOW | {"scoring": None} | FILES),
    "a packed run": (RunRecord, NOW | PACKED),
    "a run without a validation split": (RunRecord, without(NOW, "validation_last", "validation_best")),
    "a run of clips": (RunRecord, NOW | {"input": {}}),
    "a dense training run": (RunRecord, TRAINED | FILES),
    "a run of the first version": (RunRecord, without(PLAN, "removal") | {"scoring": SCORING} | RESULT | FIRST),
    "scores": (ScoreRecord, SCORE | FILES),
    "scores of the first version": (ScoreRecord, SCORE),
    "an ablation": (AblationRecord, ABLATION),
}


@pytest.mark.parametrize(("kind", "value"), WRITTEN.values(), ids=WRITTEN.keys())
def test_what_was_written_comes_back_and_is_written_again_byte_by_byte(
    kind: type[JsonFields], value: dict[str, Any]
) -> None:
    found = kind.from_json(value)
    assert json.dumps(found.to_json()) == json.dumps(value)
    assert kind.from_json(found.to_json()) == found
    assert not found.extra


@pytest.mark.parametrize(("kind", "value"), WRITTEN.values(), ids=WRITTEN.keys())
def test_keys_of_a_newer_version_are_kept(kind: type[JsonFields], value: dict[str, Any]) -> None:
    newer = {"colour": ["red"], **value}
    found = kind.from_json(newer)
    assert found.extra == {"colour": ["red"]}
    assert found.to_json() == newer
    assert kind.from_json(found.to_json()) == found


def test_a_record_is_read_by_its_fields() -> None:
    record = RunRecord.from_json(NOW | PACKED)
    assert (record.hash, record.kind, record.target, record.accuracy_last) == ("0123456789ab", "prune", "heads", 90.5)
    assert record.scoring == ScoringCost(hash="ba9876543210", images=128, seconds=0.5, peak_memory_bytes=3)
    assert record.provenance.argv == ["prune-cli", "prune", "scorer=snip"]
    assert (record.digest("model.safetensors"), record.digest("x"), record.packed) == ("c" * 64, None, True)


def test_an_older_record_knows_less() -> None:
    old = RunRecord.from_json(without(PLAN, "removal") | {"scoring": None} | RESULT | FIRST)
    unknown = (old.validation_last, old.input, old.processes, old.seconds, old.files, old.packed, old.sha256)
    assert unknown == (None,) * 7
    assert (old.target, old.digest("model.safetensors")) == ("weights", None)


def test_the_first_version_put_all_that_was_known_of_the_scores_into_the_record_of_a_run() -> None:
    value = PLAN | {"scoring": SCORE} | RESULT | FIRST
    record = RunRecord.from_json(value)
    assert record.scoring is not None and record.scoring.seconds == 0.5
    assert record.to_json() == value


def test_a_run_in_a_few_words() -> None:
    assert RunPlan.from_json(PLAN).title == "ViT-micro on MNIST-5k, SNIP, 97.5 %, seed 1"
    dense = PLAN | {"method": "dense", "method_title": "Dense", "sparsity": 0.0}
    assert RunPlan.from_json(dense).title == "ViT-micro on MNIST-5k, dense, seed 1"


# -- on the disk -----------------------------------------------------------------------------------------------------

NEEDED = [*without(PLAN, "removal"), *RESULT, *FIRST]


def left(runs: Path, value: dict[str, Any]) -> RunFolder:
    """A finished run whose record says this, besides its own name."""
    folder = RunFolder.of(runs, "prune", {"seed": 1})
    folder.path.mkdir(parents=True)
    (folder.path / "model.safetensors").write_text("weights")
    named = {key: {"hash": folder.path.name, "identity": folder.identity}.get(key, part) for key, part in value.items()}
    write_manifest(folder.path, named)
    return folder


def test_a_record_is_as_it_is_read_again_when_it_is_written(tmp_path: Path) -> None:
    made = RunRecord.from_json(NOW)
    written = write_record(tmp_path, made)
    assert read_record(tmp_path, RunRecord) == written
    assert written.files == {}
    value = read_manifest(tmp_path)
    assert value is not None
    assert list(value) == [*NOW, "files", "sha256"]
    assert written.sha256 == value[CHECKSUM]


@pytest.mark.parametrize("key", [key for key in NEEDED if key != "identity"])
def test_a_missing_key_is_named_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    notes: list[str] = []
    monkeypatch.setattr("prune_cli.runs.store.note_once", notes.append)
    folder = left(tmp_path, without(NOW, key))
    with pytest.raises(DamagedError, match=f"this record has no '{key}'") as caught:
        folder.record(RunRecord)
    assert caught.value.where == str(folder.path / "manifest.json")
    assert (caught.value.exit_code, caught.value.hint) == (1, "remove its folder and run again")
    assert finished(tmp_path, "prune") == {}
    assert notes == [f"left out: {folder.path / 'manifest.json'}: this record has no '{key}'"]


def test_a_record_without_an_identity_is_of_another_run(tmp_path: Path) -> None:
    folder = left(tmp_path, without(NOW, "identity"))
    with pytest.raises(PruneCliError, match="another run"):
        folder.record(RunRecord)


@pytest.mark.parametrize("scoring", [3, [], "x"])
def test_a_part_that_is_no_object_is_refused(tmp_path: Path, scoring: Any) -> None:
    folder = left(tmp_path, NOW | {"scoring": scoring})
    with pytest.raises(DamagedError, match="record"):
        folder.record(RunRecord)


WRONG = {
    "a text": "xyz",
    "a list": [[1]],
    "an object": {"x": 1},
    "true": True,
    "not a number": float("nan"),
    "nothing": None,
}


RIGHT = {"model": "a text", "weights": "a text", "smoke": "true", "images": "an object"}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("key", ["model", "smoke", "weights", "sparsity", "kept", "accuracy_last", "images", "argv"])
def test_a_value_of_another_type_is_named_with_its_file_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, wrong: str
) -> None:
    if RIGHT.get(key) == wrong:
        return
    notes: list[str] = []
    monkeypatch.setattr("prune_cli.runs.store.note_once", notes.append)
    folder = left(tmp_path, NOW | {key: WRONG[wrong]})
    with pytest.raises(DamagedError, match=f"this record's '{key}' is ") as caught:
        folder.record(RunRecord)
    assert caught.value.where == str(folder.path / "manifest.json")
    assert finished(tmp_path, "prune") == {}
    assert len(notes) == 1 and f"'{key}'" in notes[0]


def test_a_wrong_value_inside_a_part_is_named(tmp_path: Path) -> None:
    folder = left(tmp_path, NOW | {"scoring": SCORING | {"images": "many"}})
    with pytest.raises(DamagedError, match="this record's 'images' is 'many', not int"):
        folder.record(RunRecord)


def test_a_whole_number_is_a_number_too(tmp_path: Path) -> None:
    found = left(tmp_path, NOW | {"sparsity": 98}).record(RunRecord)
    assert found is not None and found.sparsity == 98


def test_an_identity_that_has_no_hash_is_of_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr("prune_cli.runs.store.note_once", notes.append)
    folder = left(tmp_path, NOW)
    write_checksummed(folder.path / "manifest.json", NOW | {"identity": {"kind": "prune", "seed": float("nan")}})
    assert finished(tmp_path, "prune") == {}
    assert "another run" in notes[0]


@pytest.mark.parametrize("files", [None, "model.safetensors", ["model.safetensors"], 3])
def test_a_record_whose_files_have_no_digests_is_damaged(tmp_path: Path, files: Any) -> None:
    write_checksummed(tmp_path / "manifest.json", NOW | {"files": files})
    with pytest.raises(DamagedError, match="'files' is no object"):
        read_manifest(tmp_path)


def test_every_key_that_the_first_version_had_is_needed_and_no_other() -> None:
    for key in NOW:
        if key in NEEDED:
            with pytest.raises(KeyError, match=key):
                RunRecord.from_json(without(NOW, key))
        else:
            assert RunRecord.from_json(without(NOW, key)).hash == NOW["hash"]


def test_a_whole_record_is_found_by_its_hash(tmp_path: Path) -> None:
    folder = left(tmp_path, NOW)
    assert folder.path.name == run_hash(folder.identity)
    (found,) = finished(tmp_path, "prune").values()
    assert found == folder.record(RunRecord)
    assert found.digest("model.safetensors") is not None

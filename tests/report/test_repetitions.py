"""n counts independent repetitions, and nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from records import entry

from prune_cli.report.entries import Entry
from prune_cli.report.tables import table1, table2


def test_random_runs_of_one_seed_are_one_repetition_however_they_were_called() -> None:
    """`scorer=snip_magnitude,random scoring.batches=1,4`, from when random's hash held options that it does not read."""
    runs = [entry(method, 90.0 - 10 * (method == "random")) for method in ("snip_magnitude", "random")]
    for method, accuracy in (("snip_magnitude", 92.0), ("random", 80.0)):
        runs.append(entry(method, accuracy))
        runs[-1].identity["scoring"] = {"batches": 4}
        runs[-1] = replace(runs[-1], hash=f"{runs[-1].hash}-4")
    rows = table1(runs).plain_rows()
    assert [(row[0], row[-1]) for row in rows] == [
        ("Ours [scoring.batches=default]", "90.00 (80.00)"),
        ("Ours [scoring.batches=4]", "92.00 (80.00)"),
    ]


def test_masks_drawn_anew_for_one_seed_are_averaged_and_count_once() -> None:
    runs = [entry("snip_magnitude", 90.0, seed=seed) for seed in (0, 1)]
    for seed, drawn, accuracy in ((0, 0, 80.0), (0, 7, 84.0), (1, 1, 86.0)):
        runs.append(entry("random", accuracy, seed=seed))
        runs[-1] = replace(runs[-1], hash=f"{runs[-1].hash}-{drawn}")
        runs[-1].identity["scorer"]["seed"] = drawn
    assert table1(runs).plain_rows()[0][-1] == "90.00 ± 0.00, n=2 (84.00 ± 2.83, n=2)"  # of 82 and 86


def ended(accuracy: float, weights: str, seed: int, method: str = "magnitude") -> Entry:
    """A run that ended with these weights."""
    return replace(entry(method, accuracy, seed=seed), files={"model.safetensors": weights})


def test_seeds_that_end_in_the_same_weights_repeat_nothing() -> None:
    """Packaged weights, no fine-tuning and a method without chance: one model measured three times."""
    runs = [ended(88.0, "same", seed) for seed in range(3)]
    assert table1(runs).plain_rows()[0][-1] == "88.00, n=1 (—)"
    assert table2(runs).plain_rows()[0][3] == "88.00, n=1"


def test_seeds_that_happen_to_agree_in_part_all_count() -> None:
    runs = [
        ended(accuracy, weights, seed) for seed, (accuracy, weights) in enumerate(((88, "a"), (88, "a"), (91, "b")))
    ]
    assert table1(runs).plain_rows()[0][-1] == "89.00 ± 1.73, n=3 (—)"


def packaged(dataset: str, version: str, accuracy: float, seed: int = 0) -> Entry:
    """A run from the weights that come with prune-cli for this dataset."""
    return entry(
        "magnitude",
        accuracy,
        seed=seed,
        dataset=dataset,
        weights=f"packaged:{dataset}",
        model={"weights": version * 64},
    )


def test_two_versions_of_packaged_weights_are_two_models() -> None:
    runs = [packaged("cifar10", "a", 80.0), packaged("cifar10", "b", 90.0, seed=1)]
    assert [(row[1], row[-1]) for row in table1(runs).plain_rows()] == [
        ("ViT-B/16 [weights=aaaaaaaa]", "80.00 (—)"),
        ("ViT-B/16 [weights=bbbbbbbb]", "90.00 (—)"),
    ]


def test_the_one_version_of_each_dataset_is_one_model() -> None:
    (row,) = table1([packaged("cifar10", "a", 80.0), packaged("cifar100", "b", 60.0)]).plain_rows()
    assert (row[1], row[-2:]) == ("ViT-B/16", ["80.00 (—)", "60.00 (—)"])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_dataset_with_two_versions_leaves_the_other_datasets_apart(order: tuple[int, ...]) -> None:
    runs = [packaged("cifar10", "a", 80.0), packaged("cifar10", "b", 90.0), packaged("cifar100", "c", 60.0)]
    rows = table1([runs[place] for place in order]).plain_rows()
    assert {row[1] for row in rows} == {f"ViT-B/16 [weights={name}]" for name in ("aaaaaaaa", "bbbbbbbb", "packaged")}
    assert len(rows) == 3


def test_what_an_identity_may_hold_one_day_keeps_runs_apart_too() -> None:
    other = entry("magnitude", 60.0, seed=1)
    other = replace(other, hash=f"{other.hash}-new", identity={**other.identity, "something": {"new": 3}})
    rows = table1([entry("magnitude", 80.0), other]).plain_rows()
    assert [(row[0], row[-1]) for row in rows] == [
        ("[something.new=default]", "80.00 (—)"),
        ("[something.new=3]", "60.00 (—)"),
    ]


def test_a_missing_run_is_named_once() -> None:
    first, again = (entry("random", None) for _ in range(2))
    again = replace(again, hash=f"{again.hash}-again")
    assert len(table1([entry("snip_magnitude", 90.0), first, again]).missing) == 1

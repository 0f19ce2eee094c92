"""What is kept of data and models is what would be found now, or it is found again; what is computed on is read afresh."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, Answer

from prune_cli.common.errors import DataError, PruneCliError
from prune_cli.data.fashion_mnist import FashionMnist
from prune_cli.data.mnist5k import Mnist5k
from prune_cli.data.optdigits import OptDigits
from prune_cli.data.registry import FromFiles, Splits, datasets
from prune_cli.models.vit_micro import ViTMicro
from prune_cli.pipeline import outline as outlines
from prune_cli.pipeline.job_data import KIND, DataOutline, JobData
from prune_cli.pipeline.outline import ModelOutline
from prune_cli.runs import facts
from prune_cli.targets import target_named


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever plug-ins an earlier test has used."""
    monkeypatch.setattr(facts, "_trusted", True)


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("this takes torch, and was known")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four small IDX files in the place of Fashion-MNIST's."""
    for prefix, count in (("train", 200), ("t10k", 30)):
        images, labels = torch.arange(count * 4) % 251, torch.arange(count) % 10
        for name, values, shape in (("images-idx3", images, (count, 2, 2)), ("labels-idx1", labels, (count,))):
            sizes = b"".join(size.to_bytes(4, "big") for size in shape)
            header = bytes((0, 0, 8, len(shape))) + sizes
            path = tmp_path / f"files/{prefix}-{name}-ubyte"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(header + bytes(values.tolist()))
    return tmp_path / "files"


def fresh(dataset: Any) -> DataOutline:
    """What is found by reading all of it."""
    return DataOutline.of(dataset.load(Path("unused")))


def kept(dataset: Any) -> DataOutline:
    return JobData(dataset, Path("unused")).outline


def edit(path: Path) -> None:
    """Another last byte, at the time of the old one."""
    times, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([(content[-1] + 1) % 10]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_digest_is_found_once_and_only_files_are_read_for_it_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = FashionMnist(str(root))
    first = kept(dataset)
    assert first == fresh(dataset) and len(first.classes) == 10
    monkeypatch.setattr(FashionMnist, "load", refuse)
    assert kept(dataset) == first
    with pytest.raises(AssertionError, match="takes torch"):
        kept(replace(dataset, validation=0.2))


@pytest.mark.parametrize("large", [False, True], ids=["by content", "by times"])
@pytest.mark.parametrize("file", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"])
def test_an_edited_file_of_the_same_size_and_time_has_its_own_digest(
    root: Path, monkeypatch: pytest.MonkeyPatch, file: str, large: bool
) -> None:
    monkeypatch.setattr(facts, "LARGE", 3 if large else facts.LARGE)
    monkeypatch.setattr(facts, "YOUNG_NS", -(10**15) if large else facts.YOUNG_NS)
    dataset = FashionMnist(str(root))
    before = kept(dataset)
    edit(root / f"{file}-ubyte")
    assert kept(dataset) == fresh(dataset) != before


def test_another_file_that_is_read_first_counts(root: Path) -> None:
    """find_idx takes the gzipped one where both are there."""
    import gzip

    dataset = FashionMnist(str(root))
    before = kept(dataset)
    labels = root / "train-labels-idx1-ubyte"
    raw = labels.read_bytes()
    labels.with_name(f"{labels.name}.gz").write_bytes(gzip.compress(raw[:-1] + b"\0"))
    assert kept(dataset) == fresh(dataset) != before


def test_a_missing_file_is_missed_whatever_is_kept(root: Path) -> None:
    dataset = FashionMnist(str(root))
    kept(dataset)
    (root / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="is not here"):
        kept(dataset)


def test_a_file_that_changes_while_it_is_read_keeps_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the old content, back in its place, would have the digest of the new one."""
    dataset, label = FashionMnist(str(root)), root / "train-labels-idx1-ubyte"
    old, load = label.read_bytes(), FashionMnist.load
    right = fresh(dataset)

    def meanwhile(self: FashionMnist, home: Path) -> Splits:
        edit(label)
        return load(self, home)

    with monkeypatch.context() as patch:
        patch.setattr(FashionMnist, "load", meanwhile)
        assert kept(dataset) != right
    label.write_bytes(old)
    assert kept(dataset) == right


def test_a_wrong_digest_is_found_out_where_the_work_begins_and_forgotten(root: Path) -> None:
    dataset = FashionMnist(str(root))
    data = JobData(dataset, Path("unused"))
    facts.remember(KIND, data._cache_key(), {"digest": "0" * 64, "classes": list(fresh(dataset).classes)})
    assert data.outline.digest == "0" * 64
    with pytest.raises(PruneCliError, match="forgotten now") as caught:
        _ = data.splits
    assert caught.value.where == "dataset=fashion_mnist"
    assert kept(dataset) == fresh(dataset)


def test_what_was_built_is_known_to_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = JobData(Mnist5k(), tmp_path)
    found = data.outline
    data.build()
    monkeypatch.setattr(Mnist5k, "load", refuse)
    assert JobData(Mnist5k(), tmp_path).outline == found


def test_a_built_file_that_is_damaged_is_refused_as_ever(tmp_path: Path, built_data: Path) -> None:
    shutil.copytree(built_data, tmp_path / "home")
    _ = JobData(Mnist5k(), tmp_path / "home").outline
    (file,) = (tmp_path / "home").glob("*/*.safetensors")
    edit(file)
    with pytest.raises(DataError, match="damaged"):
        _ = JobData(Mnist5k(), tmp_path / "home").outline


@dataclass(frozen=True)
class Theirs(OptDigits):
    """A dataset that is not of the package; it inherits `sources`."""

    name = "theirs"


def test_nothing_is_kept_of_a_dataset_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    kept(Theirs())
    monkeypatch.setattr(OptDigits, "load", refuse)
    with pytest.raises(AssertionError, match="takes torch"):
        kept(Theirs())


def test_every_dataset_of_images_states_its_sources_but_for_a_folder_of_millions() -> None:
    stated = {name for name, cls in datasets.classes.items() if issubclass(cls, FromFiles)}
    assert stated == {"cifar10", "cifar100", "fashion_mnist", "mnist5k", "optdigits"}


CASES = [
    ("model=mixer_micro", "scorer=synflow", "sparsity=90"),
    ("model=timm", "model.arch=vit_tiny_patch16_224.augreg_in21k", "model.weights=random", "recipe=paper"),
    ("model=lstm128", "dataset=action_mnist", "scorer=transfer_entropy", "sparsity=50"),
    ("removal=heads", "sparsity=50", "control=inverted"),
    ("dataset=optdigits", "compute.precision=fp64", "recipe.optimizer=sgd", "recipe.momentum=0.9"),
    ("model=poolformer_micro", "scorer=wanda", "sparsity.scope=row"),
    ("sparsity=dense", "recipe.ema_decay=0.9"),
]


@pytest.mark.parametrize("words", CASES, ids="-".join)
def test_a_plan_says_the_same_with_facts_and_without(
    run: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    plan = ("prune", *words, "compute.device=cpu", "--dry-run", "--json")
    with monkeypatch.context() as patch:
        patch.setenv(facts.VARIABLE, "")
        without = run(*plan)
    assert (without.code, run(*plan)) == (0, without)
    for place in ("pipeline.outline._build_outline", "training.memory._counted_copies", "models.timm_facts._config"):
        monkeypatch.setattr(f"prune_cli.{place}", refuse)
    for dataset in (Mnist5k, OptDigits):
        monkeypatch.setattr(dataset, "load", refuse)
    assert run(*plan) == without


@pytest.mark.parametrize("words", [("sparsity=50", "sparsity.min_kept_per_tensor=99999"), ("model.prunable=[x]",)])
def test_a_refusal_says_the_same_with_facts_and_without(run: Callable[..., Answer], words: tuple[str, ...]) -> None:
    answers = [run("prune", *words, "--dry-run") for _ in range(2)]
    assert answers[0].code == 2 and answers[0] == answers[1]


def test_an_outline_is_the_same_kept_or_not() -> None:
    model = ViTMicro()
    with torch.device("meta"):
        found = ModelOutline.of(model.build(7), target_named("heads"), model.prunable)
    assert ModelOutline.from_json(found.to_json()) == found
    assert list(ModelOutline.from_json(found.to_json()).removable) == list(found.removable)


@pytest.mark.parametrize("wrong_part", ["removable", "parameters"])
def test_a_wrong_outline_is_found_out_where_the_work_begins(
    run: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, wrong_part: str
) -> None:
    words = ("prune", "scorer=magnitude", "compute.device=cpu", *QUICK)
    built = outlines._build_outline

    def wrong(*given: Any) -> ModelOutline:
        found = built(*given)
        if wrong_part == "parameters":
            return replace(found, parameters=1)
        first = next(iter(found.removable))
        return replace(found, removable={**found.removable, first: replace(found.removable[first], shape=(1, 1))})

    with monkeypatch.context() as patch:
        patch.setattr(outlines, "_build_outline", wrong)
        assert run(*words, "--dry-run").code == 0
    answer = run(*words)
    assert (answer.code, answer.lines[-2:]) == (1, ["where: model=vit_micro", "try: type the same command again"])
    assert run(*words).code == 0

"""A trained model in one call: from a compressed file, or from the folder of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prune_cli.common.errors import RequestError, WeightsError
from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.common.path_checks import expanded
from prune_cli.common.random import seeded
from prune_cli.models.card import ModelCard, read_card
from prune_cli.models.prunable import classifier_names
from prune_cli.models.weights import check_tensors, read
from prune_cli.runs import compressed
from prune_cli.runs.artefacts import MODEL
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import part_of, run_record


def load(path: str | Path) -> nn.Module:
    """The trained model of a compressed file or of a finished run's folder: dense tensors on the CPU, in eval mode.

    In float32, or in float64 where it was trained in that. Its `card` is the ModelCard. Raises WeightsError or
    RequestError for another file or folder, or a model that this prune-cli cannot build; DamagedError for a damaged run.
    """
    path = expanded(path)
    card, file = _card_of_run(path) if path.is_dir() else (card_of_file(path), path)
    tensors = read(file)
    with torch.device("meta"):
        check_tensors(card.build(), tensors, file)  # before memory is taken
    double = any(tensor.dtype == torch.float64 for tensor in tensors.values())
    with seeded(0, "weights"):  # the caller's own draws are as they were
        module = card.build().to(torch.float64 if double else torch.float32)
    module.load_state_dict(tensors)
    module.card = card  # type: ignore[assignment]
    return module.eval()


def card_of_file(path: Path) -> ModelCard:
    """What a compressed file says of its model. Raises WeightsError where it is none, or says nothing."""
    if not path.is_file():
        raise WeightsError("there is no such file or folder", str(path), "a compressed file, or the folder of a run")
    if not compressed.is_compressed(path):
        hint = "the folder of its run, or a file of `prune-cli export RUN --format compressed`"
        raise WeightsError("this file does not say which model it holds", str(path), hint)
    return read_card(compressed.read(path).model, path)


def _card_of_run(folder: Path) -> tuple[ModelCard, Path]:
    record = run_record(folder)
    file = part_of(folder, record, MODEL)
    if compressed.is_compressed(file):
        return card_of_file(file), file
    return _card_of_record(record, read(file), folder), file  # a dense run, or one of an earlier version


def _card_of_record(record: RunRecord, tensors: Mapping[str, Tensor], folder: Path) -> ModelCard:
    """The card of a run whose file has none: the number of classes is that of the outputs of its head."""
    one_class = ModelCard(model=record.config["model"], classes=1, input=record.input or {})
    with torch.device("meta"):
        heads = classifier_names(one_class.build())
    found = [tensors[f"{name}.weight"].shape[0] for name in sorted(heads) if f"{name}.weight" in tensors]
    if not found:
        raise RequestError("this run does not say how many classes its model tells apart", str(folder))
    return ModelCard(model=one_class.model, classes=found[-1], input=one_class.input)

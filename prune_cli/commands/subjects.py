"""Trained LSTMs to be taken apart, and the measures of their units: what `ablate` and `dynamics` work on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from prune_cli import pipeline
from prune_cli.commands.grid import settings_of
from prune_cli.commands.request import from_scratch
from prune_cli.commands.train import train
from prune_cli.common.errors import RequestError
from prune_cli.config.schema import Settings
from prune_cli.runs.places import Places

MEASURES = "scorer=transfer_entropy,mutual_information"  # the report's; up and across in Figure 4 (a)
NOT_OF_TRAINING = ("scorer", "scoring", "removal", "sparsity")


@dataclass(frozen=True)
class Subject:
    """A model on a dataset, to be trained first where `scratch` says how, and the settings of each measure of its units."""

    measures: list[Settings]
    scratch: Settings | None
    workshop: pipeline.Workshop  # in which all of these were checked: what they share has been read

    @property
    def settings(self) -> Settings:
        """Those of the first measure; all measures share model, data and seed."""
        return self.measures[0]

    def jobs(self, places: Places) -> list[pipeline.Job]:
        """A job a measure, with the weights that training made where there were none (a finished one is not repeated)."""
        if self.scratch is None:
            return [self.workshop.job(each) for each in self.measures]
        record = train(self.workshop.job(self.scratch), places)
        weights = str(places.runs / "train" / record["hash"] / "model.safetensors")
        made, plains = pipeline.composer(places), [each.plain for each in self.measures]
        trained = [made.from_plain(plain | {"model": plain["model"] | {"weights": weights}}) for plain in plains]
        return [self.workshop.job(each) for each in trained]


def subjects(words: Iterable[str], places: Places) -> list[Subject]:
    """The models that the words name, each once, with their measures. Raises RequestError before any work starts."""
    words = list(words)
    measuring = words if any(word.startswith("scorer=") for word in words) else [*words, MEASURES]
    measures: dict[str, list[Settings]] = {}
    for settings in settings_of(measuring, places):
        measures.setdefault(_key(settings), []).append(settings)
    training = [word for word in words if word.partition("=")[0].partition(".")[0] not in NOT_OF_TRAINING]
    dense = {_key(settings): settings for settings in settings_of(from_scratch(training), places)}
    workshop = pipeline.Workshop(places)
    found = [
        Subject(own, dense[key] if own[0].model.weights == "random" else None, workshop)
        for key, own in measures.items()
    ]
    for subject in found:
        _check(subject)
    return found


def titles(planned: Iterable[Subject]) -> dict[str, str]:
    """What figures call each measure and each dataset, by its name."""
    measures = {each.scorer.name: each.scorer.title for subject in planned for each in subject.measures}
    return measures | {subject.settings.dataset.name: subject.settings.dataset.title for subject in planned}


def opened(jobs: list[pipeline.Job], places: Places) -> tuple[nn.Module, dict[str, Tensor]]:
    """The trained model, and what each measure finds of its units by the measure's name, (U,)."""
    pipeline.keep_data(jobs[0], places)
    model, parameters = pipeline.build_model(jobs[0])
    values = {job.settings.scorer.name: pipeline.find_scores(job, model, parameters, places)[0] for job in jobs}
    keeps = {job.settings.scorer.name: job.settings.scorer.keep for job in jobs}
    return model, {name: _undirected(scores, keeps[name]) for name, scores in values.items()}


def _undirected(scores: dict[str, Tensor], keep: str) -> Tensor:
    """What was measured of each unit: the score without its direction."""
    (score,) = scores.values()
    return (score if keep == "high" else -score).cpu()


def _check(subject: Subject) -> None:
    """Raise RequestError where a measure is none or is there twice, or where a job of the subject cannot be made."""
    names = [settings.scorer.name for settings in subject.measures]
    for settings in subject.measures:
        if not hasattr(settings.scorer, "measures"):
            raise RequestError(f"{settings.scorer.name} measures no units", f"scorer={settings.scorer.name}", MEASURES)
    if len(set(names)) < len(names):
        raise RequestError("a measure is taken once for each model", ", ".join(names), "one value of its options")
    for settings in (*subject.measures, *filter(None, [subject.scratch])):
        subject.workshop.job(settings)


def _key(settings: Settings) -> str:
    return repr((settings.model, settings.dataset, settings.seed, settings.compute))

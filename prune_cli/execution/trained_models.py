"""Trained LSTMs and the measures of their units, for `ablate` and `dynamics`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from prune_cli import pipeline
from prune_cli.common.errors import RequestError
from prune_cli.common.lazy import Tensor, nn
from prune_cli.config.schema import Settings
from prune_cli.execution.dense_training import train_once
from prune_cli.execution.grid import check_words, grid_settings
from prune_cli.execution.request import from_scratch
from prune_cli.runs.artefacts import MODEL
from prune_cli.runs.identity import changed_options
from prune_cli.runs.paths import Paths
from prune_cli.scorers import Scorer

MEASURES = "scorer=transfer_entropy,mutual_information"  # the report's; up and across in Figure 4 (a)
NOT_OF_TRAINING = ("scorer", "scoring", "removal", "sparsity")


@dataclass(frozen=True)
class TrainedModel:
    """A model on a dataset, to be trained first where `scratch` says how, and the settings of each measure of its units."""

    measures: list[Settings]
    scratch: Settings | None
    factory: pipeline.JobFactory  # in which all of these were checked: what they share has been read

    @property
    def settings(self) -> Settings:
        """The settings of the first measure; all measures share model, data and seed."""
        return self.measures[0]

    @property
    def runs(self) -> list[Settings]:
        """The settings of every measure, and of the training run where there is one."""
        return [*self.measures, *filter(None, [self.scratch])]

    def jobs(self, paths: Paths) -> list[pipeline.Job]:
        """A job for each measure, on trained weights: the model is trained first unless its weights are given or finished."""
        if self.scratch is None:
            return [self.factory.job(each) for each in self.measures]
        record = train_once(self.factory.job(self.scratch), paths)
        weights = str(paths.runs / "train" / record.hash / MODEL)
        made, plains = pipeline.composer(paths), [each.plain for each in self.measures]
        trained = [made.from_plain({**plain, "model": plain["model"] | {"weights": weights}}) for plain in plains]
        return [self.factory.job(each) for each in trained]


def trained_models(words: Iterable[str], paths: Paths, baselines: Sequence[str] = ()) -> list[TrainedModel]:
    """The models that the words name, each once, with their measures. Raises RequestError before any work starts.

    baselines: scorers that measure units too, with their own defaults, unless they were typed.
    """
    words = list(words)
    training = _without(words, *NOT_OF_TRAINING)
    measures, dense = _measures(words, paths, baselines), _trainings(training, paths)
    factory = pipeline.JobFactory(paths)
    found = [
        TrainedModel(own, dense[key] if own[0].model.weights == "random" else None, factory)
        for key, own in measures.items()
    ]
    of_measuring = [word for word in words if word not in training]
    check_words(of_measuring, [each for subject in found for each in subject.measures], paths)
    check_words(training, [each for subject in found for each in subject.runs], paths)
    for subject in found:
        _check(subject)
    _check_repetitions(found)
    return found


def _measures(words: list[str], paths: Paths, baselines: Sequence[str]) -> dict[str, list[Settings]]:
    """The settings of every measure, by the model that is measured."""
    measuring = words if any(word.startswith("scorer=") for word in words) else [*words, MEASURES]
    found: dict[str, list[Settings]] = {}
    for settings in grid_settings(measuring, paths):
        found.setdefault(_key(settings), []).append(settings)
    typed = {settings.scorer.name for own in found.values() for settings in own}
    for baseline in (name for name in baselines if name not in typed):
        for settings in grid_settings([*_without(words, "scorer"), f"scorer={baseline}"], paths):
            found[_key(settings)].append(settings)
    return found


def _trainings(words: list[str], paths: Paths) -> dict[str, Settings]:
    """The settings of each model's training. Raises RequestError where one model would be trained in two ways."""
    found: dict[str, Settings] = {}
    for settings in grid_settings(from_scratch(words), paths):
        if found.setdefault(_key(settings), settings) != settings:
            raise RequestError("one model is trained by one recipe", "recipe", "type the command once a recipe")
    return found


def figure_titles(planned: Iterable[TrainedModel]) -> dict[str, str]:
    """The titles of measures and datasets in figures: name -> title."""
    measures = {measure_name(each.scorer): _title(each.scorer) for subject in planned for each in subject.measures}
    return measures | {subject.settings.dataset.name: subject.settings.dataset.title for subject in planned}


def measure_name(scorer: Scorer) -> str:
    """The name of a measure in tables: the scorer's name and its options that differ from their defaults.

    The option `keep` is left out, because units are removed in both orders.
    """
    return " ".join([scorer.name, *_options(scorer)])


def measure_trained_model(jobs: list[pipeline.Job], paths: Paths) -> tuple[nn.Module, dict[str, Tensor]]:
    """The trained model, and the values of its units by `measure_name` of each measure, (U,) each."""
    pipeline.keep_data(jobs[0], paths)
    model, _ = pipeline.build_model(jobs[0])
    found = {}
    for job in jobs:
        scorer, (scores, _) = job.settings.scorer, pipeline.find_scores(job, model, paths)
        found[measure_name(scorer)] = _undirected(scores, scorer.keep)
    return model, found


def _undirected(scores: dict[str, Tensor], keep: str) -> Tensor:
    """The measured value of each unit, (U,) on the CPU: the score without the sign that `keep` gives it."""
    (score,) = scores.values()
    return (score if keep == "high" else -score).cpu()


def _title(scorer: Scorer) -> str:
    """The title of a measure in figures."""
    options = _options(scorer)
    return f"{scorer.title} ({', '.join(options)})" if options else scorer.title


def _options(scorer: Scorer) -> list[str]:
    changed = changed_options(scorer)
    return [f"{key}={value}" for key, value in changed.items() if key not in ("name", "version", "keep")]


def _without(words: Iterable[str], *groups: str) -> list[str]:
    """The words that set nothing of these config groups."""
    return [word for word in words if word.partition("=")[0].partition(".")[0] not in groups]


def _check(subject: TrainedModel) -> None:
    """Raise RequestError where a measure is none or is there twice, or where a job of the subject cannot be made."""
    names = [measure_name(settings.scorer) for settings in subject.measures]
    for settings in subject.measures:
        if not settings.scorer.measures_units:
            raise RequestError(f"{settings.scorer.name} measures no units", f"scorer={settings.scorer.name}", MEASURES)
    if len(set(names)) < len(names):
        what = "a measure is taken once for each model, and its orders go both ways"
        raise RequestError(what, ", ".join(names), "leave scorer.keep out, and type each measure once")
    for settings in subject.runs:
        subject.factory.job(settings)


def _check_repetitions(found: Iterable[TrainedModel]) -> None:
    """Raise RequestError unless the subjects of one dataset are independent repetitions: they differ in seed and weights."""
    kinds: dict[str, str] = {}
    models: dict[tuple[str, str], int] = {}
    for subject in found:
        settings = subject.settings
        dataset, kind = settings.dataset.name, _kind(subject)
        if kinds.setdefault(dataset, kind) != kind:
            what = "these models differ in more than their seed: they are no repetitions of one another"
            raise RequestError(what, f"dataset={dataset}", "type the command once for each of them")
        if subject.scratch is None:
            weights = subject.factory.job(settings).weights
            if models.setdefault((dataset, str(weights.sha256)), settings.seed) != settings.seed:
                what = f"another seed does not make another model of {weights.name} weights"
                raise RequestError(what, f"seed={settings.seed}", "model.weights=random trains one model a seed")


def _kind(subject: TrainedModel) -> str:
    """A key that all repetitions of one experiment share: everything but the seed and the weights."""
    settings = subject.settings
    model = replace(settings.model, weights="random" if subject.scratch else "")
    return repr((model, settings.dataset, settings.compute))


def _key(settings: Settings) -> str:
    return repr((settings.model, settings.dataset, settings.seed, settings.compute))

"""`prune-cli evaluate RUN`: load a finished run's model and measure it again."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli import pipeline
from prune_cli.common.terminal import print_table
from prune_cli.execution.stored_run import open_run
from prune_cli.runs.paths import Paths
from prune_cli.training.evaluate import evaluate as measure


@dataclass(frozen=True)
class Evaluation:
    """A stored model on the test images: mean loss, and accuracy [%] beside the one that its record says."""

    run: str
    images: int
    loss: float
    accuracy: float
    accuracy_recorded: float


def evaluate(run: str, paths: Paths) -> Evaluation:
    """Test accuracy (percent) of the stored model of a finished run, beside what its record says.

    Raises RequestError for an unknown run or other data, PruneCliError where its images would be prepared otherwise or
    the model holds a weight that its mask removed.
    """
    found = open_run(run, paths)
    job = found.job
    measured = measure(found.model, pipeline.evaluation_batches(job, "test"), job.settings.compute.precision)
    return Evaluation(str(found.folder), measured.images, measured.loss, measured.accuracy, found.record.accuracy_last)


def show_evaluation(found: Evaluation) -> None:
    """Print what was measured again, on the test images, beside what the record says."""
    columns = ("Run", "Test images", "Test loss", "Test [%]", "Recorded [%]")
    numbers = (f"{found.loss:.4f}", f"{found.accuracy:.2f}", f"{found.accuracy_recorded:.2f}")
    print_table("", columns, [(found.run, str(found.images), *numbers)])

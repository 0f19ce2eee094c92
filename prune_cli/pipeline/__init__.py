"""The sentence that the program is: config -> data -> model -> score -> allocate -> select -> mask -> fine-tune -> record.

job.py holds its beginning, batches.py, scoring.py, stages.py and iterative.py its middle and record.py its end; commands/prune.py reads as the whole.
"""

from prune_cli.pipeline.batches import evaluation_batches, training_batches
from prune_cli.pipeline.iterative import find_mask
from prune_cli.pipeline.job import Job, JobFactory, composer, score_identity
from prune_cli.pipeline.record import card_of, describe, input_of, write_run
from prune_cli.pipeline.scoring import find_scores
from prune_cli.pipeline.stages import (
    build_model,
    choose_mask,
    control,
    keep_data,
    remove,
    train,
)
from prune_cli.pipeline.validation import check_effect

__all__ = [
    "Job",
    "JobFactory",
    "build_model",
    "card_of",
    "check_effect",
    "choose_mask",
    "composer",
    "control",
    "describe",
    "evaluation_batches",
    "find_mask",
    "find_scores",
    "input_of",
    "keep_data",
    "remove",
    "score_identity",
    "train",
    "training_batches",
    "write_run",
]

"""The sentence that the program is: config -> data -> model -> score -> allocate -> select -> mask -> fine-tune -> record.

job.py holds its beginning, batches.py, scoring.py, arrows.py and rounds.py its middle and record.py its end; commands/prune.py reads as the whole.
"""

from prune_cli.pipeline.arrows import (
    build_model,
    choose_mask,
    control,
    keep_data,
    remove,
    train,
)
from prune_cli.pipeline.batches import evaluation_batches, training_batches
from prune_cli.pipeline.fit import check_effect
from prune_cli.pipeline.job import Job, Workshop, composer, outline, score_identity
from prune_cli.pipeline.record import describe, input_of, title, write_run
from prune_cli.pipeline.rounds import find_mask
from prune_cli.pipeline.scoring import find_scores

__all__ = [
    "Job",
    "Workshop",
    "build_model",
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
    "outline",
    "remove",
    "score_identity",
    "title",
    "train",
    "training_batches",
    "write_run",
]

"""The names of the files that runs and commands write."""

from __future__ import annotations

# of a finished run
MANIFEST = "manifest.json"  # its record, written last: with it a run is finished
CONFIG = "config.yaml"  # its settings
METRICS = "metrics.csv"  # a row an epoch
LAYERS = "layers.csv"  # a row a tensor: what is kept of it, or the spread of its scores
MASK = "mask.safetensors"
MODEL = "model.safetensors"
SCORES = "scores.safetensors"
UNITS = "units.csv"  # a row a unit: what was measured of it
SHRUNK = "shrunk.safetensors"  # the smaller model that `shrink` makes of it
EXPORTED = "exported"  # how the files begin that `export` makes of it

# of a run that is not finished, and its logs
REQUEST = "request.json"  # what it is asked to do
STATUS = "status.json"  # who works on it, or why that ended
CHECKPOINT = "checkpoint.json"
CHECKPOINTS = "checkpoint-*"  # the pattern of all that a checkpoint names
CHECKPOINT_TENSORS = ("checkpoint-a.safetensors", "checkpoint-b.safetensors")  # in turns
SCORED, SCORED_MASK = "checkpoint-scored.json", "checkpoint-mask.safetensors"  # between scoring and training
SPARSE_LAYERS = "checkpoint-sparse.json"  # which layers are trained sparse
RUN_LOG, OUTPUT_LOG = "run.log", "output.log"  # what it noted, and all that its process wrote

# in the results folder
RUNS_TABLE = "runs.csv"  # a row a finished run
SWEEP = "sweep.json"  # the points of the last sweep
DRIFT_TABLE, DRIFT_FIGURE = "drift.csv", "drift.png"
DYNAMICS_TABLE, DYNAMICS_FIGURE = "dynamics.csv", "dynamics.png"
BENCH = "bench"  # .csv, .json and .png
ABLATION, CURVES, CLAIMS = "ablation", "curves", "claims"  # .csv and .png

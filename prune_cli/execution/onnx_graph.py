"""A model as a graph of ONNX: written by torch, and computed by ONNX Runtime."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.models.card import ModelCard
from prune_cli.runs.compressed import METADATA

MOST = 2**31 - 2**24  # bytes of weights: a file of ONNX holds 2 GiB
INPUT, OUTPUT = "input", "logits"


def write_graph(model: nn.Module, example: Tensor, card: ModelCard, path: Path) -> None:
    """Write the model in float32, for batches of any size of inputs like those of `example`; its metadata hold the card.

    Raises RequestError for a model of more than 2 GiB, PruneCliError for one that torch cannot trace.
    """
    size = sum(4 * tensor.numel() for tensor in model.state_dict().values())
    if size > MOST:
        what = f"this model has {size:,} bytes of weights, and a file of ONNX holds 2 GiB"
        raise RequestError(what, "--format onnx", "--format dense")
    inputs = example[:2].float().cpu()
    inputs = inputs if len(inputs) > 1 else torch.cat([inputs, inputs])  # a batch of one would be taken for a constant
    try:
        with _quiet():
            program = torch.onnx.export(
                copy.deepcopy(model).cpu().float().eval(),
                (inputs,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: "batch"},),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch raises errors of many kinds, each with a report of pages
        reason = str(error).strip().splitlines()[0]
        raise PruneCliError(f"torch cannot make a graph of this model: {reason}", type(model).__name__) from None
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of source, with the paths of this machine
    program.model.metadata_props[METADATA] = json.dumps(card.to_json(), ensure_ascii=False)
    program.save(path, external_data=False)


class OnnxModel(nn.Module):
    """What ONNX Runtime computes of a graph on the CPU, on as many threads as torch. Raises PruneCliError."""

    def __init__(self, path: Path):
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        options.add_session_config_entry(
            "session.force_spinning_stop", "1"
        )  # between calls its threads leave cores to others
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of its own kinds
            reason = str(error).strip().splitlines()[0]
            raise PruneCliError(f"ONNX Runtime cannot load this graph: {reason}", str(path)) from None

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits of a batch, in the dtype and on the device of the inputs."""
        (logits,) = self._session.run([OUTPUT], {INPUT: inputs.float().cpu().numpy()})
        return torch.from_numpy(logits).to(inputs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Meanwhile torch's exporter says nothing of what it leaves to future versions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(level)

"""Other programs that compute the dense model of a run, for a comparison of speed: one class a program."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from prune_cli import pipeline
from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.common.terminal import note
from prune_cli.execution.stored_run import StoredRun

EXPORT = ("onnx", "onnxscript", "onnxruntime")  # the packages of the extra `export`
TORCH = "torch"  # the dense side itself, always there


class Peer(ABC):
    """A program that computes a graph of ONNX in float32 on the CPU, on as many threads as torch."""

    name: ClassVar[str]  # as --against has it
    packages: ClassVar[tuple[str, ...]]  # by the names of their modules
    install: ClassVar[str]  # what pip is told

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]

    @abstractmethod
    def load(self, graph: Path) -> Any:
        """A function from inputs to logits."""


class OnnxRuntime(Peer):
    """ONNX Runtime."""

    name, packages, install = "onnxruntime", EXPORT, "'prune-cli[export]'"

    def load(self, graph: Path) -> nn.Module:
        """The graph as a module."""
        from prune_cli.execution.onnx_graph import OnnxModel

        return OnnxModel(graph)


class OpenVino(Peer):
    """OpenVINO, held to float32: on some processors its default is bfloat16."""

    name, packages, install = "openvino", (*EXPORT, "openvino"), "'prune-cli[export]' openvino"

    def load(self, graph: Path) -> Any:
        """The graph as a function of a tensor."""
        import openvino

        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(core.read_model(graph), "CPU", options)

        def compute(inputs: Tensor) -> Tensor:
            """The logits of a batch."""
            return torch.from_numpy(compiled(inputs.float().numpy())[0])

        return compute


PEERS: dict[str, Peer] = {peer.name: peer for peer in (OnnxRuntime(), OpenVino())}


def peers_named(names: Iterable[str]) -> list[Peer]:
    """The peers that are installed, of those that were asked for; the others are named in one note, with what to type.

    Raises RequestError for an unknown one.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in (TORCH, *PEERS):
            known = ",".join((TORCH, *PEERS))
            raise RequestError(f"there is no peer {name!r}", f"--against {','.join(names)}", f"--against {known}")
    asked = [PEERS[name] for name in names if name != TORCH]
    if absent := [peer for peer in asked if peer.missing]:
        what = max((peer.install for peer in absent), key=len)
        note(f"not installed, and left out: {', '.join(peer.name for peer in absent)} (try: pip install {what})")
    return [peer for peer in asked if not peer.missing]


def loaded(peers: Iterable[Peer], found: StoredRun, example: Tensor) -> dict[str, Any]:
    """Each peer's function of the run's dense model, by its name; a peer that cannot take the model is named and left out."""
    from prune_cli.execution.onnx_graph import write_graph

    peers, functions = list(peers), {}
    if not peers:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "dense.onnx"
        try:
            write_graph(found.model, example, pipeline.card_of(found.job), graph)
        except PruneCliError as error:
            note(f"left out: {', '.join(peer.name for peer in peers)} ({error.what})")
            return {}
        for peer in peers:
            functions[peer.name] = peer.load(graph)
    return functions

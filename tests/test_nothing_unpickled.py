"""The source holds nothing that loads a pickle, runs a text as code or a shell, or unpacks an archive unchecked."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("prune_cli", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))

MODULES = {  # that load pickles, or run what they read
    *(
        "pickle",
        "_pickle",
        "cPickle",
        "cloudpickle",
        "dill",
        "marshal",
        "shelve",
        "joblib",
        "jsonpickle",
        "pandas.io.pickle",
    ),
    *("code", "codeop", "runpy", "hydra.utils", "torch.package", "torch.jit", "torch.hub"),
}
HARMLESS = {"joblib.Parallel", "joblib.delayed", "joblib.cpu_count", "joblib.effective_n_jobs"}  # threads, counted
CALLS = {  # never
    *(
        "pandas.read_pickle",
        "pandas.read_hdf",
        "yaml.full_load",
        "yaml.unsafe_load",
        "yaml.load_all",
        "yaml.full_load_all",
    ),
    *(
        "os.system",
        "os.popen",
        "os.startfile",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
        "shutil.unpack_archive",
    ),
    *(
        "torch.jit.load",
        "torch.hub.load",
        "torch.package.PackageImporter",
        "numpy.lib.format.read_array",
        "sys.settrace",
    ),
    *("torchvision.datasets.utils.extract_archive", "torchvision.datasets.utils.download_and_extract_archive"),
}
PREFIXES = ("hydra.utils.", "os.exec", "os.spawn", "yaml.unsafe_load")
BUILTINS = {"eval", "exec", "compile", "__import__"}
KEYWORDS = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}  # must be given, as this
METHODS = {"extract", "extractall"}  # of any object: only a tar has them here
UNPICKLERS = {"Unpickler", "read_pickle", "to_pickle", "instantiate", "find_class"}
PLUGINS_RUN = ["names compile", "names exec"]  # to run the file that the user typed after --plugin is what it is for
SAFE_YAML = {"yaml.SafeLoader", "yaml.CSafeLoader"}


def faults(source: str) -> list[str]:
    """What a piece of source must not hold, with its line."""
    tree = ast.parse(source)
    names, nodes = _imported(tree), list(ast.walk(tree))
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    found = [f"{line}: {what}" for node in nodes for line, what in _faults(node, names)]
    for node in nodes:  # a loader that goes by another name can be called in any way
        if id(node) not in called and (name := _dotted(node, names)) in KEYWORDS:
            found.append(f"{getattr(node, 'lineno', 0)}: passes {name} on")
    return found


def _imported(tree: ast.AST) -> dict[str, str]:
    """What each name in a file stands for: np -> numpy, load -> torch.load."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _faults(node: ast.AST, names: dict[str, str]) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = getattr(node, "module", None)
        for name in [alias.name if module is None else f"{module}.{alias.name}" for alias in node.names]:
            if name not in HARMLESS and any(name == known or name.startswith(f"{known}.") for known in MODULES):
                yield node.lineno, f"imports {name}"
    elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        name = _dotted(node, names)
        builtin = isinstance(node, ast.Name) and name in BUILTINS
        if builtin or name in CALLS or name.startswith(PREFIXES) or name.split(".")[-1] in UNPICKLERS:
            yield node.lineno, f"names {name}"
    elif isinstance(node, ast.Call):
        yield from ((node.lineno, what) for what in _of_call(node, _dotted(node.func, names), names))
    for word in _keys(node):  # to name it among what is refused is no harm
        if word == "_target_" or word.endswith("._target_"):
            yield getattr(node, "lineno", 0), "names a Python object to be made: _target_"


def _keys(node: ast.AST) -> list[str]:
    """The texts that a piece of source uses as keys: of a literal, in brackets, of a call, or in KEY=VALUE."""
    if isinstance(node, ast.keyword):
        return [node.arg or ""]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value.partition("=")[0].lstrip("+")] if "=" in node.value else []
    keys = node.keys if isinstance(node, ast.Dict) else [node.slice] if isinstance(node, ast.Subscript) else []
    return [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def _of_call(node: ast.Call, name: str, names: dict[str, str]) -> Iterator[str]:
    given = {word.arg: word.value for word in node.keywords}
    constants = {word: value.value for word, value in given.items() if isinstance(value, ast.Constant)}
    if name in KEYWORDS:
        word, needed = KEYWORDS[name]
        if constants.get(word) is not needed:
            yield f"calls {name} without {word}={needed}"
    words = {word.value for word in node.args if isinstance(word, ast.Constant)}
    if name.split(".")[-1] == "import_module" and words & MODULES:
        yield f"imports {words & MODULES}"
    if name == "yaml.load" and _dotted(given.get("Loader", node), names) not in SAFE_YAML:
        yield "calls yaml.load without a safe loader"
    if name.startswith("subprocess.") and "shell" in given and constants.get("shell") is not False:
        yield f"calls {name} with a shell"
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS and constants.get("filter") != "data":
        yield f'calls .{node.func.attr} without filter="data"'


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of what is meant, as far as the file's own imports tell it."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    return f"{_dotted(node.value, names)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_of_the_source_does_what_it_must_not(path: Path) -> None:
    found = faults(path.read_text(encoding="utf-8"))
    allowed = PLUGINS_RUN if path == ROOT / "prune_cli/plugins.py" else []
    assert sorted(fault.partition(": ")[2] for fault in found) == allowed, found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_config_names_a_python_object(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "_target_" not in text
    assert "!!python" not in text


FOUND = """
import pickle
import pickle as p
import _pickle
import cPickle
import dill
import cloudpickle
import marshal
import shelve
import joblib
from pickle import loads
from joblib import load
import torch.package
from torch import hub
from torch import jit
import runpy
import torch; torch.load(path)
import torch; torch.load(path, weights_only=False)
import torch; torch.load(path, weights_only=flag)
import torch; torch.load(path, **options)
import torch as t; t.load(path)
from torch import load; load(path)
from torch import load as read; read(path, map_location="cpu")
import torch.serialization; torch.load(path)
import torch; read = torch.load
import torch; dict(map(torch.load, paths))
from numpy import load; partial(load, path)
import importlib; importlib.import_module("pickle")
import numpy as np; np.load(path)
import numpy as np; np.load(path, mmap_mode="r")
import numpy as np; np.load(path, allow_pickle=True)
import numpy; numpy.load(path, allow_pickle=allowed)
from numpy import load as l; l(path)
import numpy as np; np.lib.format.read_array(file)
import pandas as pd; pd.read_pickle(path)
import pandas as pd; reader = pd.read_pickle
from pandas import read_pickle; read_pickle(path)
import torch; torch.hub.load("a", "b")
import torch; torch.jit.load(path)
eval(text)
exec(text)
compile(text, "x", "exec")
__import__(name)
run = eval
list(map(eval, texts))
import yaml; yaml.load(text)
import yaml; yaml.load(text, Loader=yaml.Loader)
import yaml; yaml.load(text, yaml.UnsafeLoader)
import yaml; yaml.full_load(text)
import yaml; yaml.unsafe_load(text)
from yaml import unsafe_load; unsafe_load(text)
from yaml import load; load(text)
import subprocess; subprocess.run("ls", shell=True)
import subprocess; subprocess.Popen(words, shell=flag)
from subprocess import check_output; check_output("ls", shell=True)
import subprocess; subprocess.getoutput("ls")
import os; os.system("ls")
from os import system; system("ls")
import os; os.popen("ls")
import os; os.execv("ls", [])
import tarfile; tarfile.open(path).extractall(folder)
import tarfile; tarfile.open(path).extract(member, folder)
tar.extractall(folder, filter="fully_trusted")
tar.extractall(folder, filter=chosen)
archive.extractall()
import shutil; shutil.unpack_archive(path)
from torchvision.datasets.utils import extract_archive; extract_archive(path)
from hydra.utils import instantiate
import hydra; hydra.utils.instantiate(config)
import hydra; hydra.utils.get_class(name)
config["_target_"]
config = {"name": 1, "_target_": "os.system"}
make(_target_="os.system")
words = ["+model._target_=os.system"]
class Own(Unpickler): pass
"""
CLEAN = """
import pickletools
import torch; torch.load(path, map_location="cpu", weights_only=True)
import numpy as np; np.load(path, mmap_mode="r", allow_pickle=False)
import re; re.compile("x")
model.eval()
import yaml; yaml.safe_load(text)
import yaml; yaml.load(text, Loader=yaml.SafeLoader)
import subprocess; subprocess.run(["git", "status"], check=True)
import subprocess; subprocess.run(["git"], shell=False)
tar.extractall(folder, filter="data")
tar.extract(member, folder, filter="data")
tar.extractfile(member)
import json; json.load(file)
from safetensors.torch import load_file; load_file(path)
import os; os.replace(one, two)
from joblib import Parallel, delayed, effective_n_jobs
REFUSED = ("_target_", "name")
"""


def snippets(text: str) -> list[str]:
    return [line.replace("; ", "\n") for line in text.strip().splitlines()]


@pytest.mark.parametrize("source", snippets(FOUND))
def test_what_must_not_be_there_is_found(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize("source", snippets(CLEAN))
def test_what_may_be_there_is_not(source: str) -> None:
    assert faults(source) == []


def test_the_whole_source_was_looked_at() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in FILES}
    assert {"prune_cli/data/pickles.py", "prune_cli/models/weights.py", "benchmarks/scoring.py"} <= names

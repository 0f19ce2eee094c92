"""What a user can type, as written in the README, and what a wrong request is answered."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import QUICK, Answer, everything_in, rewrite_manifest, stored_mask, stored_model
from safetensors.torch import load_file, save_file

from prune_cli import pipeline
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.overrides import parse
from prune_cli.config.schema import GROUPS
from prune_cli.models.sources import packaged_file
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import read_record

Run = Callable[..., Answer]
COMMANDS = (
    "ls",
    "build-data",
    "score",
    "prune",
    "sweep",
    "table",
    "evaluate",
    "train",
    "ablate",
    "shrink",
    "export",
    "bench",
    "drift",
)
SMOKE = ("model.weights=random", *QUICK)
RUN = {
    *("config.yaml", "metrics.csv", "layers.csv", "mask.safetensors", "model.safetensors", "run.log", "manifest.json")
}  # the files of a finished run


def pruned(run: Run, *words: str) -> dict:
    answer = run("prune", *SMOKE, *words, "--json")
    assert answer.code == 0, answer.err
    return answer.json


HELP = """
import contextlib, io, json, sys
from prune_cli import cli
found = []
for words in json.loads(sys.argv[1]):
    sys.argv, page = ["prune-cli", *words, "--help"], io.StringIO()
    try:
        with contextlib.redirect_stdout(page):
            cli.main()
    except SystemExit as stop:
        found.append((stop.code or 0, page.getvalue(), sorted({"torch", "timm", "pandas"} & set(sys.modules))))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def help_pages() -> dict[str, tuple[int, str, list[str]]]:
    """The exit code and the text of each command's help, and what has been imported by then: all of one process."""
    commands = json.dumps([[], *([name] for name in COMMANDS)])
    done = subprocess.run([sys.executable, "-c", HELP, commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(("", *COMMANDS), map(tuple, json.loads(done.stdout)), strict=True))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_ends_in_examples_and_does_not_import_torch(help_pages: dict, command: str) -> None:
    code, text, heavy = help_pages[command]
    assert (code, heavy) == (0, [])
    assert "Examples:" in text
    assert text.strip().splitlines()[-1].startswith("  ")
    assert "prune-cli " in text.strip().splitlines()[-1]


def test_a_wrong_option_is_refused_before_torch_is_imported() -> None:
    code = (
        "import sys; sys.argv = ['prune-cli', 'prune', 'scorer=snap']\n"
        "from prune_cli import cli\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert stop.code == 2\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ls_shows_the_groups_and_the_options_of_one(run: Run) -> None:
    found = run("ls", "--json").json
    groups = {group["name"]: group for group in found["groups"]}
    assert list(groups) == list(GROUPS)
    assert (groups["recipe"]["default"], groups["experiment"]["default"]) == ("micro", None)
    assert all(group["description"] and isinstance(group["choices"], list) for group in groups.values())
    assert [option["name"] for option in found["options"]][:3] == ["seed", "mask", "scoring.batches"]
    assert found["options"][3]["default"] == 128 and found["options"][3]["type"] == "int"
    listed = run("ls", "scorer", "--json").json
    choices = {choice["name"]: choice for choice in listed["choices"]}
    assert list(choices) == groups["scorer"]["choices"]
    assert all(choice["description"] for choice in choices.values())
    (temperature,) = [option for option in choices["grasp"]["options"] if option["name"] == "scorer.temperature"]
    assert (temperature["type"], temperature["default"]) == ("float", 1.0)
    assert "report" in temperature["description"]
    assert len(run("ls", "scorer").out.strip().splitlines()) == 1 + len(choices)


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_that_ls_lists_can_be_typed(run: Run, group: str) -> None:
    """With its own default, so that the listed names and defaults are those that count."""
    made = pipeline.composer(Paths())
    for choice in run("ls", group, "--json").json["choices"]:
        given = [option for option in choice["options"] if option["default"] is not None]
        words = [f"{option['name']}={json.dumps(option['default'])}" for option in given]
        missing = ["model.arch=vit_tiny_patch16_224"] if choice["name"] == "timm" else []
        missing = ["sparsity.percent=97.3"] if choice["name"] == "custom" else missing
        typed = parse([f"{group}={choice['name']}", *words, *missing], Catalogue())[0]
        plain = parse([f"{group}={choice['name']}", *missing], Catalogue())[0]
        assert made.settings(typed).plain == made.settings(plain).plain


def test_build_data_writes_the_dataset_once(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRUNE_CLI_DATA")
    first = run("build-data", "dataset=mnist5k", "--json").json
    assert first["images"] == {"train": 3500, "validation": 500, "test": 1000}
    before = (here / "datasets/mnist5k/mnist5k.safetensors").stat().st_mtime_ns
    assert run("build-data", "dataset=mnist5k", "--json").json == first
    assert (here / "datasets/mnist5k/mnist5k.safetensors").stat().st_mtime_ns == before


def test_build_data_checks_a_dataset_that_is_not_made_here(run: Run, here: Path) -> None:
    answer = run("build-data", "dataset=fashion_mnist", "dataset.root=nowhere")
    assert (answer.code, len(answer.lines)) == (2, 3)
    assert "make fashion-mnist" in answer.err
    assert everything_in(here) == set()


def test_score_writes_scores_and_their_quantiles(run: Run, here: Path) -> None:
    record = run("score", "model.weights=random", "scorer=snip_magnitude", "--json").json
    folder = here / "runs/score" / record["hash"]
    assert everything_in(folder) == {"scores.safetensors", "layers.csv", "manifest.json"}
    header = (folder / "layers.csv").read_text().splitlines()[0]
    assert {"sensitivity_median", "magnitude_median"} <= set(header.split(","))
    assert sum(t.numel() for t in load_file(folder / "scores.safetensors").values()) == 786_432


def test_prune_leaves_a_whole_record(run: Run, here: Path) -> None:
    record = pruned(run, "scorer=snip_magnitude", "sparsity=98")
    folder = here / "runs/prune" / record["hash"]
    assert everything_in(folder) == RUN
    assert record["kept"] == 786_432 - round(0.98 * 786_432) == 15_729
    assert record["smoke"] is True
    assert record["scoring"]["seconds"] > 0
    assert record["scoring"]["peak_memory_bytes"] > 0
    for key in ("versions", "device", "threads", "seed", "argv", "git", "mask_digest", "data_digest", "weights_sha256"):
        assert key in record
    stored = read_record(folder, RunRecord)
    assert stored is not None and not stored.extra
    text = json.dumps(stored.to_json(), indent=2, ensure_ascii=False) + "\n"
    assert text == (folder / "manifest.json").read_text(encoding="utf-8")
    layers = (folder / "layers.csv").read_text()
    assert all(f"blocks.0.attn.qkv.weight,{part}," in layers for part in "qkv")


def test_the_stored_model_is_zero_exactly_where_the_mask_says(run: Run, here: Path) -> None:
    folder = here / "runs/prune" / pruned(run, "scorer=magnitude", "sparsity=90")["hash"]
    mask, model = stored_mask(folder), stored_model(folder)
    for name, keep in mask.items():
        assert torch.equal(model[name].view(torch.int32)[~keep], torch.zeros_like(model[name].view(torch.int32)[~keep]))
        assert bool((model[name][keep] != 0).any())
    assert sum(int(keep.sum()) for keep in mask.values()) == 78_643


def test_prune_prepares_a_dataset_that_needs_no_download(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRUNE_CLI_DATA")
    pruned(run, "scorer=magnitude")
    assert everything_in(here / "datasets") == {"mnist5k/mnist5k.safetensors"}


def test_a_data_folder_that_takes_nothing_is_read_and_no_more(run: Run) -> None:
    answer = run("prune", *SMOKE, "scorer=magnitude", "--data-dir", "/proc")
    assert answer.code == 0 and "/proc does not take it" in answer.err
    refused = run("build-data", "dataset=mnist5k", "--data-dir", "/proc")
    assert (refused.code, len(refused.lines)) == (2, 3) and "--data-dir" in refused.err


def test_a_finished_run_is_not_computed_again(run: Run, finished: Run, here: Path) -> None:
    first = pruned(finished, "scorer=magnitude")
    manifest = here / "runs/prune" / first["hash"] / "manifest.json"
    before = manifest.stat().st_mtime_ns
    answer = run("prune", *SMOKE, "scorer=magnitude")
    assert "this run is finished" in answer.err
    assert first["hash"] in answer.out
    assert manifest.stat().st_mtime_ns == before


def test_three_sparsities_cost_one_scoring(run: Run, here: Path) -> None:
    for percent in ("90", "95", "98"):
        pruned(run, "scorer=snip", f"sparsity={percent}")
    assert len(list((here / "runs/score").glob("*/manifest.json"))) == 1
    assert len(list((here / "runs/prune").glob("*/manifest.json"))) == 3


def test_the_same_command_in_two_folders_gives_the_same_numbers(run: Run) -> None:
    first, second = (pruned(run, "scorer=grasp", "--runs-dir", folder) for folder in ("a", "b"))
    assert first["mask_digest"] == second["mask_digest"]
    assert first["accuracy_last"] == second["accuracy_last"]
    assert (
        Path("a/prune", first["hash"], "metrics.csv").read_text().rpartition(",")[0]
        == (Path("b/prune", second["hash"], "metrics.csv").read_text().rpartition(",")[0])
    )


def test_a_number_without_a_file_is_a_custom_sparsity(run: Run) -> None:
    record = pruned(run, "scorer=magnitude", "sparsity=97.3", "seed=7")
    assert record["kept"] == 786_432 - round(0.973 * 786_432)
    same = pruned(run, "scorer=magnitude", "sparsity=custom", "sparsity.percent=97.3", "seed=7")
    assert same["hash"] == record["hash"]


def test_any_timm_architecture_is_pruned_in_its_blocks(run: Run) -> None:
    words = ("model=timm", "model.arch=vit_tiny_patch16_224", "model.weights=random", "scorer=magnitude", "sparsity=90")
    few = ("recipe=smoke", "recipe.batch_size=2", "recipe.train_batches=1", "recipe.test_images=2")
    record = run("prune", *words, *few, "--json").json
    assert record["prunable"] == 12 * 12 * 192 * 192
    assert record["model_title"] == "vit_tiny_patch16_224"


def test_a_mask_made_before_is_used_as_it_is(run: Run, here: Path) -> None:
    first = pruned(run, "scorer=magnitude", "sparsity=95")
    mask = here / "runs/prune" / first["hash"] / "mask.safetensors"
    second = pruned(run, f"mask={mask}")
    assert second["method"] == "mask"
    assert second["mask_digest"] == first["mask_digest"]
    assert second["sparsity"] == pytest.approx(95, abs=1e-3)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(run: Run, here: Path) -> None:
    plan = run("prune", "model.weights=random", "sparsity=98", "--dry-run", "--json").json
    assert everything_in(here) == set()
    assert (plan["prunable"], plan["kept"], plan["done"]) == (786_432, 15_729, False)
    assert plan["removed_of_all"] == pytest.approx((786_432 - 15_729) / 803_338)
    assert len(plan["tensors"]) == 16
    assert plan["config"]["scorer"] == {"name": "snip_magnitude", "alpha": 1e-3}
    text = run("prune", "model.weights=random", "sparsity=98", "--dry-run").out
    assert plan["run"] in text and "not done" in text


def test_a_dry_run_knows_what_is_done(run: Run, finished: Run) -> None:
    record = pruned(finished, "scorer=magnitude")
    plan = run("prune", *SMOKE, "scorer=magnitude", "--dry-run", "--json").json
    assert plan["done"] is True
    assert plan["run"].endswith(record["hash"])


def test_evaluate_measures_what_the_record_says(run: Run, finished: Run, here: Path) -> None:
    record = pruned(finished, "scorer=snip")
    for name in (record["hash"], record["hash"][:6], str(here / "runs/prune" / record["hash"])):
        found = run("evaluate", name, "--json").json
        assert found["accuracy"] == record["accuracy_last"] == found["accuracy_recorded"]
    head, row = run("evaluate", record["hash"]).out.splitlines()
    assert head.split("  ")[-1].strip() == "Recorded [%]" and "Test [%]" in head
    assert row.split()[2:] == [f"{found['loss']:.4f}", *[f"{record['accuracy_last']:.2f}"] * 2]


def test_evaluate_finds_a_revived_weight(run: Run, finished: Run, here: Path) -> None:
    folder = here / "runs/prune" / pruned(finished, "scorer=snip")["hash"]
    tensors = stored_model(folder)
    mask = stored_mask(folder)["blocks.1.mlp.fc1.weight"]
    tensors["blocks.1.mlp.fc1.weight"][~mask] += 1e-6
    save_file(tensors, folder / "model.safetensors")
    rewrite_manifest(folder)
    answer = run("evaluate", folder.name)
    assert answer.code == 1
    assert "blocks.1.mlp.fc1.weight" in answer.err


def test_train_records_a_dense_run_and_exports_weights_that_prune_can_use(run: Run, here: Path) -> None:
    answer = run("train", *QUICK, "--export", "weights/dense.safetensors", "--json")
    assert answer.json["method"] == "dense"
    weights = load_file(here / "weights/dense.safetensors")
    assert {t.dtype for t in weights.values()} == {torch.float16}
    assert (here / "weights/dense.json").exists()
    record = run("prune", *QUICK, "scorer=magnitude", "model.weights=weights/dense.safetensors", "--json").json
    assert record["weights"] == "file"


def test_json_is_the_only_thing_on_stdout_and_plain_when_piped(run: Run) -> None:
    answer = run("prune", *SMOKE, "scorer=magnitude", "--json")
    assert answer.json["method"] == "magnitude"
    assert re.search(r"98 %, seed 0: epoch 1/1  train loss \d\.\d{4}  validation \d+\.\d\d %  lr", answer.err)
    assert "\x1b" not in answer.out + answer.err + run("prune", *SMOKE, "scorer=magnitude").out


WRONG = {
    "an unknown option": (["scorer=snap"], "snip"),
    "an unknown group": (["scorrer=snip"], "scorer"),
    "an unknown key": (["scorer.alfa=1"], "alpha"),
    "a key of another scorer": (["scorer=grasp", "scorer.alpha=1"], "scorer.alpha"),
    "too much sparsity": (["sparsity=120"], "[0, 100)"),
    "all of it": (["sparsity=100"], "[0, 100)"),
    "negative sparsity": (["sparsity=-1"], "[0, 100)"),
    "a word for a number": (["scorer.alpha=x"], "scorer.alpha"),
    "a negative alpha": (["scorer.alpha=-1"], "alpha"),
    "an unknown scope": (["sparsity.scope=globe"], "global"),
    "a missing value": (["model=timm"], "model.arch"),
    "an unknown architecture": (["model=timm", "model.arch=vit_tinny_patch16_224"], "vit_tiny_patch16_224"),
    "missing weights": (["model.weights=missing.safetensors"], "missing.safetensors"),
    "a missing mask": (["mask=missing.safetensors"], "missing.safetensors"),
    "a dataset that is not there": (["dataset=fashion_mnist", "dataset.root=nowhere"], "make fashion-mnist"),
    "an option of another folder": (["model=../sparsity/90"], "../sparsity/90"),
    "Hydra's own settings": (["hydra.run.dir=x"], "hydra"),
    "an interpolation": (["seed=${oc.env:HOME}"], "interpolation"),
    "a sweep": (["scorer=snip,grasp"], "prune-cli sweep"),
    "a grid": (["experiment=demo"], "prune-cli sweep experiment=demo"),
    "an optimiser that mixes weights": (["recipe.optimizer=lbfgs"], "lbfgs"),
    "an option that the optimiser lacks": (["recipe.momentum=0.9"], "momentum"),
    "half a word": (["scorer"], "KEY=VALUE"),
    "an unknown flag": (["--dry-runn"], "--dry-run"),
    "weights with a name too long": ([f"model.weights={'x' * 300}"], "there are no such weights"),
    "a mask with a name too long": ([f"mask={'x' * 300}"], "there is no such mask"),
    "a dataset with a name too long": (["dataset=cifar10", f"dataset.root={'x' * 300}"], "File name too long"),
    "a floor that cannot be met": (["model.weights=random", "sparsity.min_kept_per_tensor=20000"], "min_kept"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_answered_in_three_lines_and_writes_nothing(
    run: Run, here: Path, words: list, said: str
) -> None:
    answer = run("prune", *words)
    assert answer.code == 2, answer.err
    assert 1 <= len(answer.lines) <= 3, answer.err
    assert said in answer.err
    assert answer.out == ""
    assert everything_in(here) == set()


UNUSED = {  # words that mean something to other commands
    "build-data": ("model=vit_micro", "recipe.epochs=1", "seed=1", "compute.workers=2"),
    "score": ("recipe=micro", "recipe.epochs=1", "sparsity=90", "sparsity.scope=row", "control=shuffle", "mask=a"),
    "train": ("scorer=snip", "scorer.alpha=1", "scoring.batches=2", "sparsity=90", "removal=readout", "mask=a"),
    "drift": ("scorer=snip", "scorer=snip,grasp", "scoring.batches=2", "sparsity.scope=row", "control=reinit"),
    "ablate": ("sparsity=50", "removal=readout", "control=shuffle", "mask=a"),
    "dynamics": ("sparsity=50", "removal=readout", "control=shuffle", "mask=a"),
}


@pytest.mark.parametrize(("command", "word"), [(name, word) for name, words in UNUSED.items() for word in words])
def test_a_word_that_the_command_does_not_use_is_refused(run: Run, here: Path, command: str, word: str) -> None:
    answer = run(command, "dataset=mnist5k", word)
    part = word.partition("=")[0].partition(".")[0]
    assert (answer.code, answer.out, everything_in(here)) == (2, "", set())
    assert answer.lines[:2] == [f"error: {command} has no use for {part}", f"where: {word}"]
    assert answer.lines[2].startswith(f"try: leave it out: {command} looks at ")


def test_damaged_files_are_wrong_requests_too(run: Run, here: Path) -> None:
    good = packaged_file("vit_micro").read_bytes()
    (here / "half.safetensors").write_bytes(good[: len(good) // 2])
    save_file({"other.weight": torch.ones(2, 2)}, here / "other.safetensors")
    (here / "datasets/mnist5k").mkdir(parents=True)
    before = everything_in(here)
    for words, said in (
        (["model.weights=half.safetensors"], "half.safetensors"),
        (["model.weights=other.safetensors"], "other.weight"),
    ):
        answer = run("prune", *words)
        assert (answer.code, len(answer.lines) <= 3, said in answer.err) == (2, True, True), answer.err
        assert everything_in(here) == before
    (here / "datasets/mnist5k/mnist5k.safetensors").write_bytes(b"not a dataset")
    answer = run("prune", *SMOKE, "--data-dir", "datasets")
    assert (answer.code, len(answer.lines) <= 3) == (2, True)
    assert "prune-cli build-data dataset=mnist5k" in answer.err
    assert not (here / "runs").exists()


def test_a_loss_that_turns_nan_stops_the_run_and_says_where(run: Run, here: Path) -> None:
    training = run("prune", *SMOKE, "scorer=magnitude", "recipe.optimizer=sgd", "recipe.lr=1e30")
    assert (training.code, len(training.lines) <= 3) == (1, True), training.err
    assert "epoch 1, batch" in training.err
    tensors = load_file(packaged_file("vit_micro"))
    tensors["blocks.2.mlp.fc1.weight"][0, 0] = float("nan")
    save_file(tensors, here / "nan.safetensors")
    scoring = run("prune", *QUICK, "model.weights=nan.safetensors", "scorer=snip")
    assert (scoring.code, len(scoring.lines) <= 3) == (1, True), scoring.err
    assert "scoring batch 1" in scoring.err
    magnitude = run("prune", *QUICK, "model.weights=nan.safetensors", "scorer=magnitude")
    assert magnitude.code == 1
    assert "blocks.2.mlp.fc1.weight" in magnitude.err
    assert not list((here / "runs/prune").rglob("manifest.json"))
    assert len(list((here / "runs/score").rglob("manifest.json"))) == 1  # the sound scores of the first command


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on_from_it(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prune_cli.training.loop as loop

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "backward", stopping(loop.backward, stop))
        answer = run("prune", *SMOKE, "scorer=magnitude")
    assert answer.code == 130
    assert answer.lines == [
        "a checkpoint is written: epoch 1, after batch 1",
        "stopped: the same command goes on from here",
    ]
    (folder,) = (here / "runs/prune").glob("[0-9a-f]*")
    assert {path.name for path in folder.iterdir()} == {
        *("status.json", "run.log", "checkpoint.json", "checkpoint-a.safetensors"),
        *("checkpoint-scored.json", "checkpoint-mask.safetensors"),
    }
    again = run("prune", *SMOKE, "scorer=magnitude")
    assert again.code == 0 and "goes on from its checkpoint: epoch 1, after batch 1" in again.err
    assert everything_in(folder) == RUN


def test_of_the_processes_of_a_sweep_the_sweep_says_that_they_stopped(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prune_cli.commands.run as command

    def stopped(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", stopped)
    answer = run("run", "runs/prune/abc")
    assert (answer.code, answer.err) == (130, "")


def stopping(backward: Callable[..., float], stop: Callable[[], None]) -> Callable[..., float]:
    def stopped(*words: object) -> float:
        stop()
        return backward(*words)

    return stopped


def test_an_unexpected_error_shows_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import prune_cli.commands.prune as command

    def fail(*_: object) -> None:
        raise RuntimeError("something odd")

    monkeypatch.setattr(command, "prune", fail)
    answer = run("prune", *SMOKE)
    assert answer.code == 1
    assert "something odd" in answer.err
    assert "Traceback" not in answer.err


def test_own_config_groups_are_added(run: Run, here: Path) -> None:
    (here / "mine/scorer").mkdir(parents=True)
    (here / "mine/scorer/strong.yaml").write_text(
        "# The report's score with a strong magnitude term.\nname: snip_magnitude\nalpha: 0.5\n"
    )
    listed = run("ls", "scorer", "--config-dir", "mine", "--json").json["choices"]
    (strong,) = [choice for choice in listed if choice["name"] == "strong"]
    assert [(option["name"], option["default"]) for option in strong["options"]] == [("scorer.alpha", 0.5)]
    record = pruned(run, "scorer=strong", "--config-dir", "mine")
    assert record["config"]["scorer"] == {"name": "snip_magnitude", "alpha": 0.5}
    assert pruned(run, "scorer.alpha=0.5")["hash"] == record["hash"]


@pytest.mark.slow
def test_the_wheel_prunes_from_any_folder(tmp_path: Path) -> None:
    """Build the wheel, install it without its dependencies beside ours, and type a command in an empty folder."""
    root = Path(__file__).parents[1]
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, root], check=True, capture_output=True
    )
    wheel = next(tmp_path.glob("*.whl"))
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin/python"
    site = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True, check=True
    )
    ours = Path(torch.__file__).parents[1]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    Path(site.stdout.strip(), "dependencies.pth").write_text(f"{ours}\n")  # the .pth files of that folder are not read
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [environment / "bin/prune-cli", "prune", "scorer=snip_magnitude", "sparsity=98", "recipe=smoke", "--json"],
        cwd=elsewhere, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    where = subprocess.run(
        [python, "-c", "import prune_cli; print(prune_cli.__file__)"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(environment) in where.stdout
    assert everything_in(elsewhere / "results") == {"runs.csv"}

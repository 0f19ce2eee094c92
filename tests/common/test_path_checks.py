"""A path that cannot be used is refused before any work, by every command that takes one."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from conftest import Answer, everything_in

from prune_cli import cli
from prune_cli.common.errors import RequestError
from prune_cli.common.path_checks import (
    check_data_folder,
    check_export,
    check_readable_folder,
    check_writable_file,
    check_writable_folder,
    expanded,
    typed_path,
)

Run = Callable[..., Answer]
LONG = "x" * 300
KINDS = ("DIR", "FILE", "RUN_DIR")  # what help calls the paths of options and arguments
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
OPTIONS = [
    (name, option.opts[0] if option.opts[0].startswith("-") else "", option.metavar == "FILE")
    for name, command in COMMANDS.items()
    for option in command.params
    if option.metavar in KINDS
]


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a file, a folder, a link to itself and a link to nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    return tmp_path


def test_each_command_that_reads_or_writes_runs_is_among_those_tested() -> None:
    assert {name for name, *_ in OPTIONS} == COMMANDS.keys()
    assert len(OPTIONS) > 35


@pytest.mark.parametrize(("command", "option", "file"), OPTIONS, ids=[f"{c} {o or 'RUN_DIR'}" for c, o, _ in OPTIONS])
def test_every_path_is_checked_before_any_work(run: Run, odd: Path, command: str, option: str, file: bool) -> None:
    before = everything_in(odd)
    for value in (
        "",
        "folder" if file else "file",
        "file/inside",
        "loop",
        "loop/inside",
        LONG,
        f"{LONG}/a",
        "/proc/foo",
    ):
        answer = run(command, *([option] if option else []), value)
        assert answer.code == 2, (value, answer.err)
        assert len(answer.lines) <= 3 and answer.out == "", answer
        assert everything_in(odd) == before


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--results-dir", ["prune"]),
        ("--runs-dir", ["sweep", "seed=0,1"]),
        ("--to", ["pack"]),
        ("--export", ["train"]),
        ("--runs-dir", ["verify"]),
    ],
)
@pytest.mark.usefixtures("odd")
def test_what_is_wrong_where_and_what_to_type(run: Run, option: str, words: list[str]) -> None:
    answer = run(*words, option, "loop")
    assert "Too many levels of symbolic links" in answer.err or "no regular file" in answer.err
    assert answer.lines[1:] == [f"where: {option} loop", f"try: another path for {option}"]
    assert "--runs-dir ''" in run("verify", "--runs-dir", "").err


def test_a_path_is_refused_before_torch_is_imported(odd: Path) -> None:
    code = (
        "import sys; sys.argv = ['prune-cli', 'prune', '--results-dir', 'file']\n"
        "from prune_cli import cli\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert stop.code == 2\n"
        "assert not {'torch', 'pandas', 'hydra'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=odd)
    assert done.returncode == 0, done.stderr
    assert "Not a directory" in done.stderr


@pytest.mark.parametrize("path", ["folder", ".", "new", "new/in/new", "folder/new", "../new"])
def test_a_folder_that_is_or_can_be_made_is_taken_and_left_as_it_is(odd: Path, path: str) -> None:
    before = sorted(odd.rglob("*"))
    for check in (check_writable_folder, check_data_folder, check_readable_folder):
        assert typed_path(path, "--runs-dir", check) == Path(path)
    assert sorted(odd.rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("file", errno.ENOTDIR),
        ("file/new", errno.ENOTDIR),
        ("loop/new", errno.ELOOP),
        ("dangling", errno.ENOENT),
        ("dangling/new", errno.ENOENT),
        (f"new/{LONG}/new", errno.ENAMETOOLONG),
        ("/".join(["new"] * 1100), errno.ENAMETOOLONG),
        ("/proc/new", errno.ENOENT),
    ],
)
@pytest.mark.usefixtures("odd")
def test_a_folder_that_cannot_be_made_is_refused(path: str, number: int) -> None:
    for check in (check_writable_folder, check_data_folder):
        with pytest.raises(OSError) as caught:
            check(Path(path))
        assert caught.value.errno == number


def test_a_folder_without_permission_is_refused(odd: Path) -> None:
    (odd / "folder").chmod(0o500)
    try:
        (odd / "folder/try").touch()
        pytest.skip("this user may write anywhere")
    except PermissionError:
        with pytest.raises(PermissionError):
            check_writable_folder(odd / "folder")
        check_data_folder(odd / "folder")  # it may hold all that is wanted
    finally:
        (odd / "folder").chmod(0o700)


@pytest.mark.parametrize("path", ["file", "folder/new.safetensors", "new/new.safetensors"])
@pytest.mark.usefixtures("odd")
def test_a_file_that_can_be_written_is_taken(path: str) -> None:
    check_export(Path(path))


@pytest.mark.parametrize("path", ["folder", "/dev/null", "loop", "dangling", "file/new", f"new/{'x' * 200}"])
@pytest.mark.usefixtures("odd")
def test_a_file_that_cannot_be_written_is_refused(path: str) -> None:
    """A name of 200 letters has no room for the temporary one, and a device would be replaced."""
    with pytest.raises(OSError):
        check_writable_file(Path(path))


@pytest.mark.usefixtures("odd")
def test_weights_are_not_exported_to_the_file_beside_them() -> None:
    Path("other.json").mkdir()
    for path in ("weights.json", "other.safetensors"):
        with pytest.raises(OSError):
            check_export(Path(path))


def test_a_name_that_no_record_could_hold_is_refused() -> None:
    with pytest.raises(RequestError, match="UTF-8"):
        typed_path("runs-\udcff", "--runs-dir", check_writable_folder)


def test_a_run_that_takes_no_smaller_model_is_refused_before_it_is_read(run: Run, odd: Path) -> None:
    folder = odd / "runs/prune/abc"
    (folder / "shrunk.safetensors").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    answer = run("shrink", "abc")
    assert (answer.code, answer.lines[2]) == (2, "try: another path for --export")


def test_a_user_who_does_not_exist_has_a_path_that_does_not_exist(run: Run) -> None:
    assert expanded("~") == Path.home() and expanded("~no-such-user-here/x") == Path("~no-such-user-here/x")
    answer = run("prune", "dataset=fashion_mnist", "dataset.root='~no-such-user-here/x'", "--dry-run")
    assert answer.code != 0 and "no-such-user-here" in answer.lines[-2]

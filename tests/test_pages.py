"""The pages hold together: their length, the navigation of the site, links, anchors, and the names in the API reference."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CARDS = sorted((ROOT / "datasets").glob("*/README.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md")), *CARDS]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```.*?^```$", re.S | re.M)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """The targets of a page's links and images inside the repository."""
    return [target for target in LINK.findall(prose(page)) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """What a link can name on a page: its headings, as GitHub and the site spell them."""
    headings = [re.sub(r"[`*]", "", heading) for heading in re.findall(r"^#+ (.*)$", prose(page), re.M)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def in_navigation(entry: object) -> list[str]:
    """The pages that a part of the site's navigation leads to."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in in_navigation(part)]  # type: ignore[attr-defined]


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            found.append(target)
    return found


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](none.md) [b](#one) [c](#two) ![d](page.md) [e](page.md#one)\n```\n[code](none.md)\n```\n"
    )
    assert broken(page) == ["none.md", "#two"]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    elsewhere = ["CONTRIBUTING.md", "CHANGELOG.md", *(str(card.relative_to(ROOT)) for card in CARDS)]
    wanted = [str(page.relative_to(DOCS)) for page in DOCS.glob("*.md")] + elsewhere
    assert sorted(in_navigation(site["nav"])) == sorted(wanted)


def test_the_readme_leads_to_every_page() -> None:
    pages = {f"docs/{page.name}" for page in DOCS.glob("*.md") if page.name != "index.md"}
    assert pages <= set(links(ROOT / "README.md"))


def unknown_paths(page: Path) -> list[str]:
    """The files and folders of the repository that a page names in code and that are not there; NAME stands for any."""
    named = re.findall(r"`((?:prune_cli|configs|tests|benchmarks|docs)/[\w./-]+)`", prose(page))
    return [path for path in named if not re.search(r"\b[A-Z]+\b", path) and not (ROOT / path).exists()]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.parent.name + page.name
)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    assert unknown_paths(page) == []


def test_a_file_that_does_not_exist_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`tests/test_pages.py` `configs/control/NAME.yaml` `prune_cli/cli/none.py`\n")
    assert unknown_paths(page) == ["prune_cli/cli/none.py"]


def documented(name: str) -> bool:
    """Whether a module of the package defines this class or function, with a docstring; nothing is imported."""
    module, _, own = name.rpartition(".")
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    nodes = [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    ]
    return any(node.name == own and ast.get_docstring(node) for node in nodes)


def test_every_name_of_the_reference_exists_and_is_documented() -> None:
    names = re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.M)
    assert len(names) == len(set(names)) > 50
    assert [name for name in names if not documented(name)] == []
    assert not documented("prune_cli.masks.select.nothing")


def test_hooks_of_commits_use_this_environment() -> None:
    """So that they agree with `make lint` and fetch nothing."""
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert {hook["language"] for hook in hooks.values()} == {"system"}
    assert all(
        hooks[name]["entry"].startswith(".venv/bin/") for name in ("ruff-check", "ruff-format", "mypy", "lint-imports")
    )


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocstrings") is None, reason="the extra docs is not installed")
def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    assert "scorer.keep=low|high" in (tmp_path / "configuration.html").read_text(encoding="utf-8")
    fetched = re.compile(r"<(?:script|img|iframe|link rel=\"?stylesheet\"?)[^>]*(?:src|href)=\"?https?:", re.I)
    assert [page.name for page in pages if fetched.search(page.read_text(encoding="utf-8"))] == []

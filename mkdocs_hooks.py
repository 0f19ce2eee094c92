"""Hooks of the site: pages that stand outside docs/ in the repository, links to them, and what a code host writes otherwise.

A link is written so that it works in the repository: `../datasets/mnist5k/README.md` in a page of docs/, and
`docs/extending.md` in CONTRIBUTING.md. In the site both lose their first folder, because all pages share one root. A | in code in a
table is escaped in the repository, and is not in the site, which would show the backslash.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent
PAGES = [
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"datasets/{card.parent.name}/README.md" for card in sorted(ROOT.glob("datasets/*/README.md"))),
]
FROM_DOCS = re.compile(r"(?<=\]\()\.\./(?=datasets/|CONTRIBUTING\.md|CHANGELOG\.md)")
FROM_ROOT = re.compile(r"(?<=\]\()docs/")
ROW = re.compile(r"^\|.*$", re.M)
CODE = re.compile(r"`[^`]+`")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand outside docs/."""
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to where the other pages stand in the site, and take the backslash from | in the code of tables."""
    pattern = FROM_ROOT if page.file.src_uri in PAGES else FROM_DOCS
    return ROW.sub(lambda row: CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0]), pattern.sub("", markdown))

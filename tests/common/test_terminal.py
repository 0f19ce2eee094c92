"""What is printed for other programs."""

from __future__ import annotations

import json
from math import inf, nan

import numpy as np
import pytest

from prune_cli.common.terminal import print_json


def test_numbers_that_json_does_not_have_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    """NaN and Infinity are no JSON, and jq, browsers and R refuse them."""
    print_json({"rows": [{"p": nan, "low": (-inf, np.float64(nan), 1.5)}], "n": 1, "said": "NaN"})

    def refused(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(capsys.readouterr().out, parse_constant=refused)
    assert found == {"rows": [{"p": None, "low": [None, None, 1.5]}], "n": 1, "said": "NaN"}

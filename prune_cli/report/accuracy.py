"""The accuracy that a cell of a table states: mean, spread and the number of independent repetitions."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.common.lazy import pd
from prune_cli.common.plain import JsonObject

NOTHING = "—"


@dataclass(frozen=True)
class Accuracy:
    """Accuracy [%] over repetitions. std: standard deviation (n - 1), None below two; n: those finished, of `wanted`."""

    mean: float | None
    std: float | None
    n: int
    wanted: int

    @classmethod
    def of(cls, runs: pd.DataFrame) -> Accuracy:
        """The accuracy of the rows of `entries.frame` that share a cell; a repetition is a seed.

        Runs that share a seed (random masks drawn for the same head and batches, or one run that two versions of
        prune-cli have called by two hashes) are averaged first. Seeds that all end in the same weights repeat nothing
        and count as one.
        """
        of_seeds = runs.groupby("seed", sort=False).accuracy.mean()
        found = of_seeds.dropna()
        if runs.outcome.nunique() == 1:
            found = found.head(1)
        mean = float(found.mean()) if len(found) else None
        return cls(mean, float(found.std()) if len(found) > 1 else None, len(found), len(of_seeds))

    @property
    def text(self) -> str:
        """The text of a table's cell: of several seeds mean ± standard deviation and n, of one seed its accuracy alone."""
        if self.mean is None:
            return NOTHING
        spread = "" if self.std is None else f" ± {self.std:.2f}"
        return f"{self.mean:.2f}{spread}" + (f", n={self.n}" if self.wanted > 1 else "")

    @property
    def written(self) -> float:
        """The mean rounded as it is written, for comparison; -inf without a mean."""
        return float("-inf") if self.mean is None else float(f"{self.mean:.2f}")

    def as_json(self) -> JsonObject:
        """The numbers as a JSON object; mean is None where no run is finished."""
        return {"mean": self.mean, "std": self.std, "n": self.n}

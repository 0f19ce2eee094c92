"""fashion_mnist: 70,000 images of clothes (Zalando Research, MIT) in MNIST's own file format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prune_cli.common.errors import DataError
from prune_cli.common.path_checks import expanded
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.data.idx import find_idx, read_idx
from prune_cli.data.registry import Split, Splits, datasets
from prune_cli.data.stratified import check_train_images, check_validation, hold_out, take_subset

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

PREFIXES = ("train", "t10k")  # of the names of files: to train, and to test


@datasets.register("fashion_mnist")
@dataclass(frozen=True)
class FashionMnist:
    """Fashion-MNIST from the IDX files under `root`. validation: the stratified share of the training images held out.

    train_images: use only so many of the training images, in proportion to their classes; None: all.
    """

    root: str = field(default="/usr/share/datasets/fashion-mnist", metadata=NOT_IN_HASH)
    validation: float = 0.1
    train_images: int | None = None

    title = "Fashion-MNIST"

    def __post_init__(self) -> None:
        check_validation(self.validation)
        check_train_images(self.train_images)

    def load(self, home: Path) -> Splits:  # noqa: ARG002 - these files are not ours to build
        """Read the four files. Raises DataError where one is missing or damaged."""
        train, test = map(self._read, PREFIXES)
        kept, held = hold_out(take_subset(train, self.train_images, "fashion_mnist"), self.validation, "fashion_mnist")
        return Splits(kept, held, test, CLASSES)

    def build(self, home: Path) -> None:
        """Do nothing: the files are installed, or given by `root`."""

    def sources(self, home: Path) -> list[Path]:  # noqa: ARG002 - they lie elsewhere
        """The four IDX files. Raises DataError where one is missing."""
        return [path for prefix in PREFIXES for path in self._files(prefix)]

    def _files(self, prefix: str) -> tuple[Path, Path]:
        """The file of images and the file of labels of a split. Raises DataError where one is missing."""
        return self._file(f"{prefix}-images-idx3-ubyte"), self._file(f"{prefix}-labels-idx1-ubyte")

    def _read(self, prefix: str) -> Split:
        of_images, of_labels = self._files(prefix)
        images, labels = read_idx(of_images, 3), read_idx(of_labels, 1)
        highest = max(labels.tolist(), default=-1)
        if len(images) != len(labels) or not 0 <= highest < len(CLASSES):
            raise DataError(
                f"{len(images)} images and {len(labels)} labels up to {highest} do not fit",
                self.root,
                "fetch or install the files again",
            )
        return Split(images.unsqueeze(1), labels.long())

    def _file(self, stem: str) -> Path:
        found = find_idx(expanded(self.root), stem)
        if found is None:
            raise DataError(
                f"fashion_mnist is not here: no {stem}.gz",
                self.root,
                "make fashion-mnist (Debian), or dataset.root=FOLDER",
            )
        return found

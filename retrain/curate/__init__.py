"""From raw traffic and old training rows to a training set and two holdout slices that do not leak."""

from retrain.curate.curate import Curated, curate
from retrain.curate.rows import Row, read_rows, write_rows

__all__ = ["Curated", "Row", "curate", "read_rows", "write_rows"]

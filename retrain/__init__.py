"""A retraining order, run as one process: curate, train, evaluate, gate, publish."""

import os

# How long torch's threads spin before they sleep. Endlessly, a training step beside a busy neighbour takes five times
# as long; not at all, a step on a quiet machine takes half as long again.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# Libraries draw progress bars into logs; we say ourselves how far we are.
os.environ.setdefault("TQDM_DISABLE", "1")

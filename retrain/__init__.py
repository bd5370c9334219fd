"""A retraining order, run as one process: curate, train, evaluate, gate, publish."""

import os

# Threads of torch that wait must not spin: beside a busy engine, spinning made a training step five times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

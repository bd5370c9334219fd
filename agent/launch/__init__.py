"""Starting retraining orders, and knowing which of them still run."""

"""The retraining job: rows in, one judged adapter version out."""

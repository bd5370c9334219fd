"""Metrics of answers against labels, as modules of Hugging Face `evaluate`."""

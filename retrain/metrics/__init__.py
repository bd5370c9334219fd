"""Metrics of answers against labels, as local modules of Hugging Face `evaluate`: nothing is fetched.

`answers.py`, `labels.py`, `perplexity.py` are such modules; `right.py` is plain Python: when is an
answer right.
"""

"""The gate: what a challenger must prove on paired answers. Pure: no file, no engine, no clock.

verdict.py the table · checks.py its lines · intervals.py their arithmetic · simulation.py how often it errs.
"""

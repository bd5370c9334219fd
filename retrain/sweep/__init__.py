"""Sweeps: several recipes on the rows of one order, the worse ones given up early, the best one told."""

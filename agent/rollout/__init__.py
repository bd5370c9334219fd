"""Wanted versions against live versions: load, prove, shift, drain, unload."""

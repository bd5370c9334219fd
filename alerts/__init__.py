"""Prometheus rules over the agent's metrics, with their promtool tests and runbook."""

"""Grafana dashboards, built by Python and checked in as JSON."""

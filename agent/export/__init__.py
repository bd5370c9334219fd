"""What leaves for monitors: one table of metrics, rendered for Prometheus."""

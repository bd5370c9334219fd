"""The sidecar and controller: from captured exchanges to decisions, orders and rollouts."""

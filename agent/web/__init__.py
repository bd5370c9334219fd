"""The sidecar's HTTP: a status page for people, numbers for monitors, a door for feedback."""

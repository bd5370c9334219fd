"""Exchanges that no tap has seen: handed in as JSON lines or as OpenTelemetry spans, into the same intake."""

from agent.intake.attach.desk import Desk
from agent.intake.attach.doors import Doors
from agent.intake.attach.tally import Tally

__all__ = ["Desk", "Doors", "Tally"]

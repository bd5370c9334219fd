"""Frames of the tap -> exchanges, redacted before anything is stored."""

from agent.intake.assemble import Unreadable, assemble, unreadable
from agent.intake.redact import Redactor
from agent.intake.server import IntakeServer

__all__ = ["IntakeServer", "Redactor", "Unreadable", "assemble", "unreadable"]

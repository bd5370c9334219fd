"""Exchange -> named features -> whylogs profiles."""

from agent.profile.features import FEATURES, Feature, Kind, features
from agent.profile.profiler import Profiler

__all__ = ["FEATURES", "Feature", "Kind", "Profiler", "features"]

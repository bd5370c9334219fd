"""Exchange -> named features -> whylogs profiles."""

from agent.profile.features import features, features_of_texts
from agent.profile.profiler import Profiler
from agent.profile.table import FEATURES, Feature, Kind, Side

__all__ = ["FEATURES", "Feature", "Kind", "Profiler", "Side", "features", "features_of_texts"]

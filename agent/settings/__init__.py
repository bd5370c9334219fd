"""One tree of settings, read once from a YAML file."""

from agent.settings.tree import (
    KubernetesSettings,
    PolicySettings,
    QualitySettings,
    RaySettings,
    RetrainSettings,
    Settings,
    load,
)

__all__ = [
    "KubernetesSettings",
    "PolicySettings",
    "QualitySettings",
    "RaySettings",
    "RetrainSettings",
    "Settings",
    "load",
]

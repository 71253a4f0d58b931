"""Puts `baselines/` and `methods/` into the wheel under `gmbench/attributors/`: no generic names in site-packages."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BundleMethods(BuildHookInterface):
    """The build hook that pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            for folder in ("baselines", "methods"):
                build_data["force_include"][folder] = f"gmbench/attributors/{folder}"

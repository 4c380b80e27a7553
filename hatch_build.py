"""Build hook: packages carry the web page and the notebook's panel, where `make web` has built them."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = "rapidfire_cli/view/page/bundle"


class PageHook(BuildHookInterface):
    """Adds the built page, which git ignores and so would be left out."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the page's files to the builder; an editable install finds them where they are."""
        files = sorted((Path(self.root) / BUNDLE).glob("*.*"))
        if not files and version != "editable":
            self.app.display_warning("the web page is not built (`make web`): this package goes without it")
        build_data["artifacts"] += [f"/{BUNDLE}/{file.name}" for file in files]

"""MkDocs calls this when it has built the site: the index of the search as a script, for pages on a disk."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig


def on_post_build(config: MkDocsConfig) -> None:
    """Write ``search/search_index.js``: a page at file:// may load scripts, and fetch nothing."""
    folder = Path(config.site_dir) / "search"
    index = (folder / "search_index.json").read_text(encoding="utf-8")
    (folder / "search_index.js").write_text(f"globalThis.searchIndex = {index};\n", encoding="utf-8")

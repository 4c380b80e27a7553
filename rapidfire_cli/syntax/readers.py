"""A file's bytes to its nodes, by its notation."""

from pathlib import PurePath

from rapidfire_cli.syntax.compose import MAX_NODES
from rapidfire_cli.syntax.nodes import Document
from rapidfire_cli.syntax.text import MAX_BYTES, decode


def read(data: bytes, file: str, max_bytes: int = MAX_BYTES) -> Document:
    """The document that the bytes of `file` hold: TOML or JSON by its suffix, else YAML.

    Where larger files are allowed, so are more nodes. Raises Refusal where reading cannot go on.
    """
    text = decode(data, file, max_bytes)
    most = max(MAX_NODES, MAX_NODES * max_bytes // MAX_BYTES)
    match PurePath(file).suffix.lower():
        case ".toml":
            from rapidfire_cli.syntax.toml_reader import read_toml

            return read_toml(text, file, most)
        case ".json":
            from rapidfire_cli.syntax.json_reader import read_json

            return read_json(text, file, most)
    from rapidfire_cli.syntax.yaml_reader import read_yaml

    return read_yaml(text, file, most)

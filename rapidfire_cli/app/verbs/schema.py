"""`schema`: the grammar as a JSON Schema."""

from rapidfire_cli.syntax.schema import schema as schema_of
from rapidfire_cli.view.formats import json_text


def schema(tagged: bool) -> int:
    """Print the JSON Schema of experiment files."""
    print(json_text(schema_of(tagged)))
    return 0

"""The JSON Schema of a bot's file, for editors and for other programs."""

from typing import Any

from nkfast.app.config.sections import SECTIONS, CommonSettings
from nkfast.strategies import load, names

__all__ = ["json_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(strategy: str | None = None) -> dict[str, Any]:
    """Return the schema of the form with sections, for one strategy or for all."""
    chosen = names() if strategy is None else (strategy,)
    definitions: dict[str, Any] = {}
    common = _object(CommonSettings, definitions)
    properties = {name.removesuffix("_"): schema for name, schema in common["properties"].items()}
    properties["$schema"] = {"type": "string"}
    for name, section in SECTIONS.items():
        properties[name] = _object(section, definitions)
    kinds = [_strategy(name, definitions) for name in chosen]
    properties["strategy"] = kinds[0] if len(kinds) == 1 else {"oneOf": kinds}
    return {
        "$schema": _DIALECT,
        "title": "nkfast bot",
        "type": "object",
        "properties": properties,
        "required": ["strategy"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _strategy(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _object(load(name).settings_type, definitions)
    own = {key: value for key, value in schema["properties"].items() if key != "symbol"}
    schema["properties"] = {"name": {"const": name}} | own
    schema["required"] = ["name", *(key for key in schema.get("required", ()) if key != "symbol")]
    return schema


def _object(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = kind.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    return schema

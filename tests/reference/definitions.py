"""The files in deploy/rabbitmq, written from the layout that workers, `pps broker setup` and `pps doctor` go by."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from common.rabbitmq.layout import definitions, permissions

FOLDER: Final = Path(__file__).parent.parent.parent / "deploy" / "rabbitmq"
DEFINITIONS: Final = FOLDER / "definitions.json"
PERMISSIONS: Final = FOLDER / "permissions.json"


def written() -> Mapping[Path, str]:
    """Return what each file should hold."""
    return {DEFINITIONS: _text(definitions()), PERMISSIONS: _text(permissions())}


def _text(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"

"""What programs leave behind: text and JSON, complete or not at all."""

import json
from pathlib import Path
from typing import Any

from tfdvae.data.files import atomic_write

__all__ = ["write_json", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Writes a text and the end of its last line."""
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())


def write_json(path: Path, content: Any) -> None:
    """Writes plain values, indented by 2."""
    write_text(path, json.dumps(content, indent=2))

"""The model card of an export: the facts of its description, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfdvae.markdown import markdown_table

__all__ = ["CARD", "model_card"]

CARD = "README.md"
MOST_ROWS = 100
"""Features that a card lists one by one; the description has all of them."""


def model_card(content: Mapping[str, Any]) -> str:
    """Markdown text of a description, as `fields.describe` writes it, parsed.

    What is not known is said to be so: a reader should not have to guess whether it was forgotten.
    """
    data, versions = content.get("data", {}), content["versions"]
    driven = f", {content['inputs']} inputs per frame" if content["inputs"] else ""
    driven += f", a context of {content['context']} numbers per sequence" if content["context"] else ""
    frame = " x ".join(map(str, content["frame_shape"]))
    facts = {
        "Frames": f"{frame} numbers{driven}",
        "p(x_t | .)": content["observation"] + _standardized(content["standardize"]),
        "Latents of a frame": ", ".join(content["latents"]) or "none",
        "Trained on": data.get("origin", "not recorded"),
        "Trained": content.get("trained", "not recorded"),
        "Frame period": f"{data['frame_period']:g} {data['time_unit']}" if "frame_period" in data else "not recorded",
        "Sampling rate": f"{data['sampling_rate']:g} Hz" if "sampling_rate" in data else "not recorded",
        "Precision": content.get("precision", "float32"),
        "SHA-256 of the weights": f"`{content['weights_sha256']}`",
        "Written with": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    parts = [f"# {content['model']}", _table(("", ""), list(facts.items())), "## Features", _features(content)]
    for title, names in (("Inputs", data.get("inputs")), ("Context", data.get("context"))):
        if names:
            parts += [f"## {title}", ", ".join(names)]
    signatures = [
        (f"`{name}`", one["description"], ", ".join(f"`{field['name']}`" for field in one["inputs"]))
        for name, one in content["signatures"].items()
    ]
    parts += ["## Signatures", _table(("name", "what it does", "inputs"), signatures)]
    parts.append("Types, shapes, units and all outputs: `signatures.json`.")
    return "\n\n".join(parts) + "\n"


def _standardized(mode: str | None) -> str:
    return "" if mode is None else f", of frames that the model standardises itself (`{mode}`)"


def _features(content: Mapping[str, Any]) -> str:
    data, statistics = content.get("data", {}), content.get("statistics")
    scaled = {name: data[name] for name in ("shift", "scale") if name in data}
    text = "Frames are (original - shift) / scale.\n\n" if scaled else ""
    columns = {"name": data.get("features"), "unit": data.get("units"), **scaled, **(statistics or {})}
    columns = {name: values for name, values in columns.items() if values}
    if not columns:
        return "Names, units and statistics of the training data are not recorded."
    count = max(map(len, columns.values()))
    rows = [
        [_cell(values[i] if len(values) > 1 else values[0]) for values in columns.values()]
        for i in range(min(count, MOST_ROWS))
    ]
    more = "" if count <= MOST_ROWS else f"\n\n{count - MOST_ROWS} more: see `signatures.json`."
    own = "" if statistics is None else "\n\nMean to high are of the training data, as the model takes them."
    return text + _table(("", *columns), [(str(i), *row) for i, row in enumerate(rows)]) + more + own


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(head, ([cell.replace("|", "\\|") for cell in row] for row in rows), len(head))

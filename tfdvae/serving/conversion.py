"""Runs the LiteRT converter in a process of its own: `conversion.py SAVED_MODEL OUTPUT PRECISION SIGNATURE...`.

Exits with 3, and prints the operations, where there is no built-in equivalent. Imports TensorFlow alone.
"""

import re
import sys
from pathlib import Path

__all__ = ["convert"]


def convert(saved_model: str, output: str, precision: str, names: list[str]) -> list[str]:
    """Writes the .tflite file; returns the operations that LiteRT lacks, in which case nothing is written."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=names)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        content = converter.convert()
    except Exception as error:
        found = re.findall(r"'?tf\.(\w+)'? op is neither|\btf\.(\w+)\(", str(error))
        lacking = {first or second for first, second in found}
        if "Lowering tensor list ops is failed" in str(error):
            lacking.add("loops over frames of unknown size")
        if not lacking:
            raise
        return sorted(lacking)
    Path(output).write_bytes(content)
    return []


def main() -> int:
    saved_model, output, precision, *names = sys.argv[1:]
    lacking = convert(saved_model, output, precision, names)
    print(", ".join(lacking))
    return 3 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())

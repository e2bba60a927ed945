"""The edge runtime: exported models without TensorFlow. `stream` alone is the runtime, the other modules are demos."""

"""Programs that put a trained model somewhere: saved_model, litert, verify."""

"""ONNX programs: where they are cut, running pieces of them, and how far results lie apart."""

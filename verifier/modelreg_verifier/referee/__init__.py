"""Recomputes single ONNX operators in float64, with a bound on rounding. docs/spec/dispute.md, section 4."""

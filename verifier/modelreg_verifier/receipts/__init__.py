"""A node's receipts: signed, kept, handed out and opened. Specified in docs/spec/openings.md."""

"""Answering inference requests with verified releases. Specified in docs/spec/serve.md."""

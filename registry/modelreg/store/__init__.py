"""Block stores: where the bytes of releases are kept and found. Specified in docs/spec/store.md."""

"""The formats that producer and verifier share: pure functions and frozen types, no I/O."""

"""A blockchain-anchored registry of machine-learning models: formats, stores, ledger and publishing."""

__version__ = "0.1.0"
__all__ = ["__version__"]

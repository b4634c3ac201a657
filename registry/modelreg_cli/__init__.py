"""The command `modelreg`."""

from modelreg_cli.app import main

__all__ = ["main"]

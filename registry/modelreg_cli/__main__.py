"""`python -m modelreg_cli`."""

from modelreg_cli.app import main

main()

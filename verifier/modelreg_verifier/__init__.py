"""The checking side of modelreg: trusted heads, verified copies of releases, and what is wrong with a copy."""

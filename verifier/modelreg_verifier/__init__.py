"""The checking side of modelreg: trusted heads, verified copies, and what is wrong with a copy."""

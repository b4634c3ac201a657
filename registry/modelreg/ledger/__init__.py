"""The ledger: proven reads of the ModelRegistry contract, and transactions that survive crashes."""

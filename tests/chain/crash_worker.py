"""A process that sends transactions and prints each hash once it is acknowledged; made to be killed.

usage: python -m tests.chain.crash_worker CHAIN NAME
"""

import sys

import modelreg.chain.execution  # noqa: F401  before "ready", not within the first transaction
from modelreg.chain import RpcError, open_chain
from tests.chain.backends import Node, account


def main():
    path, name = sys.argv[1:]
    sender = account(name)
    with open_chain(path) as chain:
        node = Node(chain.request, kind="embedded")
        print("ready", flush=True)
        while True:
            try:
                tx = node.sign(sender, to=account("sink").address, value=1, gas=21000)
                print(chain.request("eth_sendRawTransaction", [tx]), flush=True)
            except RpcError as error:
                if "nonce" not in error.message and "known" not in error.message:
                    raise


if __name__ == "__main__":
    main()

"""Endpoints that lie."""

import copy


class LyingRpc:
    """Passes requests on and lets one function per method rewrite the answer (and see the parameters)."""

    name = "http://liar"

    def __init__(self, rpc, **lies):
        self.rpc = rpc
        self.lies = lies
        self.asked = []

    def request(self, method, params):
        self.asked.append(method)
        lie = self.lies.get(method)
        if lie is None:
            return self.rpc.request(method, params)
        return lie(self.rpc, params, copy.deepcopy(self.rpc.request(method, params)))


def in_proof(change):
    """A lie about storage proofs; `change` gets the list of entries and rewrites it."""

    def lie(_rpc, _params, answer):
        if answer["storageProof"]:
            change(answer["storageProof"])
        return answer

    return lie

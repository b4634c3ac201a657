// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReceiptLog, ReceiptId} from "../interfaces/IReceiptLog.sol";

/// @title Positional inclusion proofs of a batch of receipts; docs/spec/receipt.md, section 5
library BatchProof {
    /// @dev The walk of docs/spec/content.md, section 5; at most as many steps as `count` has bits.
    function isIncluded(
        IReceiptLog.Batch calldata batch,
        address node,
        ReceiptId receipt,
        uint64 seq,
        bytes32[] calldata proof
    ) internal pure returns (bool) {
        if (!holds(batch, batch.epoch, seq)) return false;
        (uint256 index, uint256 last, uint256 taken) = (seq - batch.first, batch.count - 1, 0);
        bytes32 top = keccak256(abi.encodePacked(bytes1(0x04), receipt));
        for (; last > 0; (index, last) = (index >> 1, last >> 1)) {
            bool right = index & 1 == 1;
            if (!right && index == last) continue;
            if (taken == proof.length) return false;
            bytes32 sibling = proof[taken++];
            top = right
                ? keccak256(abi.encodePacked(bytes1(0x01), sibling, top))
                : keccak256(abi.encodePacked(bytes1(0x01), top, sibling));
        }
        return taken == proof.length && _seal(batch, node, top) == batch.root;
    }

    /// @dev Whether the batch has a place for this seq; counts without overflow whatever the batch says.
    function holds(IReceiptLog.Batch calldata batch, uint64 epoch, uint64 seq) internal pure returns (bool) {
        return batch.epoch == epoch && seq >= batch.first && seq - batch.first < batch.count;
    }

    function _seal(IReceiptLog.Batch calldata batch, address node, bytes32 top) private pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                bytes1(0x03), bytes32(uint256(uint160(node))), batch.epoch, batch.first, uint64(batch.count), top
            )
        );
    }
}

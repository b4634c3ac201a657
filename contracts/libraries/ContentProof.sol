// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModelRegistry} from "../interfaces/IModelRegistry.sol";

/// @title Positional inclusion proofs of the content tree; docs/spec/contract.md, section 5
library ContentProof {
    /// @dev RFC 9162, section 2.1.3.2, over keccak-256; the root binds the count, so a proof has one length.
    function isIncluded(
        IModelRegistry.Leaf calldata leaf,
        uint64 index,
        uint64 count,
        bytes32[] calldata proof,
        bytes32 root
    ) internal pure returns (bool) {
        if (index >= count) return false;
        (uint64 node, uint64 last) = (index, count - 1);
        bytes32 top =
            keccak256(abi.encodePacked(bytes1(0x00), leaf.pathHash, leaf.offset, leaf.length, leaf.digest));
        for (uint256 i = 0; i < proof.length; ++i) {
            if (last == 0) return false;
            bool right = node & 1 == 1;
            top = right || node == last
                ? keccak256(abi.encodePacked(bytes1(0x01), proof[i], top))
                : keccak256(abi.encodePacked(bytes1(0x01), top, proof[i]));
            for (; !right && node == last && node & 1 == 0; node >>= 1) last >>= 1;
            (node, last) = (node >> 1, last >> 1);
        }
        return last == 0 && keccak256(abi.encodePacked(bytes1(0x02), leaf.hashCode, count, top)) == root;
    }
}

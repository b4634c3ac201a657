// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReceiptLog, ReceiptId} from "../interfaces/IReceiptLog.sol";

/// @title What nodes and auditors sign: EIP-712 digests and their signers; docs/spec/receipt.md, section 2
/// @dev The chain id is read at run time, so that a fork of the chain splits what is signed as well.
library Statements {
    string internal constant NAME = "modelreg";
    string internal constant VERSION = "1";

    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant RECEIPT_TYPE = keccak256(
        "Receipt(uint16 schema,address node,bytes32 releaseId,bytes32 planId,bytes32 requestId,address client,"
        "bytes32 inputCommit,bytes32 outputCommit,bytes32 traceRoot,bytes32 runtimeFingerprint,uint64 epoch,"
        "uint64 seq,uint64 issuedAt,bytes32 prevReceipt)"
    );
    bytes32 private constant VERDICT_TYPE = keccak256(
        "Verdict(bytes32 policyId,bytes32 receipt,address node,uint8 outcome,bytes32 report,uint64 issuedAt)"
    );

    /// @dev Half the order of secp256k1: EIP-2.
    uint256 private constant MAX_S = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    function digest(IReceiptLog.Receipt calldata receipt) internal view returns (ReceiptId) {
        return ReceiptId.wrap(_typed(keccak256(abi.encode(RECEIPT_TYPE, receipt))));
    }

    function digest(IReceiptLog.Verdict memory verdict) internal view returns (bytes32) {
        return _typed(keccak256(abi.encode(VERDICT_TYPE, verdict)));
    }

    /// @dev The account that signed it; never zero.
    function signer(bytes32 typed, bytes calldata signature) internal pure returns (address account) {
        if (signature.length != 65 || uint256(bytes32(signature[32:])) > MAX_S) revert IReceiptLog.BadSignature();
        account = ecrecover(typed, uint8(signature[64]), bytes32(signature), bytes32(signature[32:]));
        if (account == address(0)) revert IReceiptLog.BadSignature();
    }

    function _typed(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPE, keccak256(bytes(NAME)), keccak256(bytes(VERSION)), block.chainid, address(this))
        );
        return keccak256(abi.encodePacked(bytes2(0x1901), domain, structHash));
    }
}

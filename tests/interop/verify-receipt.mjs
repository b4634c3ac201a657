// Reads a signed receipt with ethers alone: its EIP-712 digest, who signed it, its packed bytes, and a batch's root.
import { readFileSync } from "node:fs";
import { TypedDataEncoder, Wallet, concat, keccak256, recoverAddress, solidityPacked, toBeHex, verifyTypedData, zeroPadValue } from "ethers";

const TYPES = {
  Receipt: [
    ["uint16", "schema"], ["address", "node"], ["bytes32", "releaseId"], ["bytes32", "planId"], ["bytes32", "requestId"],
    ["address", "client"], ["bytes32", "inputCommit"], ["bytes32", "outputCommit"], ["bytes32", "traceRoot"],
    ["bytes32", "runtimeFingerprint"], ["uint64", "epoch"], ["uint64", "seq"], ["uint64", "issuedAt"], ["bytes32", "prevReceipt"],
  ].map(([type, name]) => ({ type, name })),
};

const { receipts, secret } = JSON.parse(readFileSync(0));
const wallet = new Wallet(secret);
const read = async ({ domain, receipt, digest, signature }) => ({
  digest: TypedDataEncoder.hash(domain, TYPES, receipt),
  signer: verifyTypedData(domain, TYPES, receipt, signature).toLowerCase(),
  signerOfDigest: recoverAddress(digest, signature).toLowerCase(),
  elsewhere: verifyTypedData({ ...domain, chainId: domain.chainId + 1 }, TYPES, receipt, signature).toLowerCase(),
  signature: await wallet.signTypedData(domain, TYPES, receipt),
  packed: solidityPacked(TYPES.Receipt.map(({ type }) => type), TYPES.Receipt.map(({ name }) => receipt[name])),
  batchOfOne: keccak256(concat([
    "0x03", zeroPadValue(receipt.node, 32), ...[receipt.epoch, receipt.seq, 1].map((number) => toBeHex(number, 8)),
    keccak256(concat(["0x04", digest])),
  ])),
});
console.log(JSON.stringify(await Promise.all(receipts.map(read))));

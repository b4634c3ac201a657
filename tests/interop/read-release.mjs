// Reads a release with ethers alone, and proves its record against the block header with other people's code:
// the header hash by RLP, the account and each word of storage by Merkle-Patricia proofs (EIP-1186).
import { readFileSync } from "node:fs";
import { verifyMerkleProof } from "@ethereumjs/mpt";
import { AbiCoder, Contract, JsonRpcProvider, encodeBytes32String, encodeRlp, getBytes, hexlify, keccak256, toBeHex, toQuantity, toUtf8Bytes, zeroPadValue } from "ethers";

const [url, address, artifact, model, version, tamper] = process.argv.slice(2);
const RELEASES_SLOT = 6;
const RELEASE_WORDS = 7;
const HEADER = [
  "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom", "difficulty",
  "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce", "baseFeePerGas", "withdrawalsRoot",
  "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot", "requestsHash",
];
const QUANTITIES = new Set(["difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "blobGasUsed", "excessBlobGas"]);

const provider = new JsonRpcProvider(url);
const registry = new Contract(address, JSON.parse(readFileSync(artifact)).abi, provider);
const modelId = keccak256(toUtf8Bytes(model));
const releaseId = await registry.versionOf(modelId, encodeBytes32String(version));
const release = await registry.getRelease(releaseId);

// The id commits to the whole record.
const words = ["bytes32", "bytes32", "bytes32", "bytes32", "bytes32", "bytes32", "bytes32", "uint256", "uint256"];
const values = [
  keccak256(toUtf8Bytes("modelreg/release/1")), release.model, release.version, release.branch, release.parent,
  release.contentRoot, release.manifestDigest, release.manifestHash, release.seq,
];
const recomputed = keccak256(AbiCoder.defaultAbiCoder().encode(words, values));

const block = await provider.send("eth_getBlockByNumber", ["latest", false]);
const bare = (hex) => (BigInt(hex) === 0n ? "0x" : toBeHex(BigInt(hex)));
const fields = HEADER.map((name) => (QUANTITIES.has(name) ? bare(block[name]) : block[name]));
const headerHash = keccak256(encodeRlp(fields));

const first = BigInt(keccak256(AbiCoder.defaultAbiCoder().encode(["bytes32", "uint256"], [releaseId, RELEASES_SLOT])));
const slots = Array.from({ length: RELEASE_WORDS }, (_, index) => toBeHex(first + BigInt(index), 32));
const proof = await provider.send("eth_getProof", [address, slots, toQuantity(block.number)]);
if (tamper) proof.storageProof[2].proof[proof.storageProof[2].proof.length - 1] = encodeRlp(["0x20", "0x01"]);

const check = (root, key, nodes) =>
  verifyMerkleProof(getBytes(keccak256(key)), nodes.map((node) => getBytes(node)), { root: getBytes(root) });
let account = null;
let stored = [];
try {
  account = hexlify(await check(block.stateRoot, address, proof.accountProof));
  for (const entry of proof.storageProof) {
    const value = await check(proof.storageHash, zeroPadValue(entry.key, 32), entry.proof);
    stored.push(value ? hexlify(value) : null);
  }
} catch (error) {
  stored = null;
}
const expectedAccount = encodeRlp([bare(proof.nonce), bare(proof.balance), proof.storageHash, proof.codeHash]);
const asStored = (word) => encodeRlp(BigInt(word) === 0n ? "0x" : toBeHex(BigInt(word)));

console.log(JSON.stringify({
  releaseId,
  contentRoot: release.contentRoot,
  manifestDigest: release.manifestDigest,
  idCommits: recomputed === releaseId,
  headerHash: headerHash === block.hash,
  accountProven: account === expectedAccount,
  contentRootProven: stored !== null && stored[2] === asStored(release.contentRoot),
  manifestProven: stored !== null && stored[3] === asStored(release.manifestDigest),
}));
provider.destroy();

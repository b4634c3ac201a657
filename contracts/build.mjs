// Compiles the contracts with the pinned solc and compares the result with the committed artifacts;
// `--write` refreshes them; names choose contracts. Same sources, compiler and settings give the same bytes
// everywhere.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import sha3 from "js-sha3";
import solc from "solc";

const HERE = dirname(fileURLToPath(import.meta.url));
const CONTRACTS = ["ModelRegistry", "ReceiptLog"];

// The deterministic deployment proxy has this address on every chain; the salt is zero.
const DEPLOYER = "0x4e59b44847b379578588920cA78FbF26c0B4956C";
const SALT = "0x" + "00".repeat(32);

const SETTINGS = {
  evmVersion: "cancun",
  viaIR: true,
  optimizer: { enabled: true, runs: 200 },
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  outputSelection: {
    "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"] },
  },
};

const read = (path) => readFileSync(join(HERE, path), "utf8");

// Each contract with what it imports and nothing else: the numbers in one's artifact do not hang on the others.
function compile(name) {
  const sources = { [`${name}.sol`]: { content: read(`${name}.sol`) } };
  const input = { language: "Solidity", sources, settings: SETTINGS };
  const imported = (path) => ({ contents: read(path) });
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: imported }));
  const problems = output.errors ?? [];
  problems.forEach((problem) => console.error(problem.formattedMessage));
  if (problems.length > 0) throw new Error("the compiler must have nothing to say");
  return output.contracts[`${name}.sol`][name];
}

const keccak = (hex) => sha3.keccak256(Buffer.from(hex, "hex"));

// EIP-55
function checksummed(address) {
  const hash = sha3.keccak256(address);
  return "0x" + [...address].map((c, i) => (parseInt(hash[i], 16) > 7 ? c.toUpperCase() : c)).join("");
}

// EIP-1014
function create2Address(bytecode) {
  const preimage = "ff" + DEPLOYER.slice(2).toLowerCase() + SALT.slice(2) + keccak(bytecode);
  return checksummed(keccak(preimage).slice(24));
}

function artifact(name, { abi, evm, storageLayout }) {
  const { outputSelection, ...settings } = SETTINGS;
  const document = {
    contractName: name,
    abi,
    bytecode: "0x" + evm.bytecode.object,
    deployedBytecode: "0x" + evm.deployedBytecode.object,
    storageLayout,
    compiler: { version: solc.version(), settings },
    create2: { deployer: DEPLOYER, salt: SALT, address: create2Address(evm.bytecode.object) },
  };
  return JSON.stringify(document, null, 1) + "\n";
}

function committed(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

const write = process.argv.includes("--write");
const named = CONTRACTS.filter((name) => process.argv.includes(name));
for (const name of named.length > 0 ? named : CONTRACTS) {
  const path = join(HERE, "artifacts", `${name}.json`);
  const fresh = artifact(name, compile(name));
  if (write) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, fresh);
  }
  const same = committed(path) === fresh;
  const { create2, deployedBytecode } = JSON.parse(fresh);
  console.log(`${name}: ${deployedBytecode.length / 2 - 1} bytes at ${create2.address}: ${same ? "ok" : "DIFFERS"}`);
  if (!same) {
    console.error(`artifacts/${name}.json is not what the sources compile to; run: npm --prefix contracts run write`);
    process.exitCode = 1;
  }
}

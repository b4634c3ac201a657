// A foreign client of the gateway: fetches a release as an archive and each of its blocks, checks every block's hash,
// and walks the DAG depth first with other people's code. Prints what it found.
import { CarReader } from "@ipld/car";
import * as dagCbor from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import { equals } from "multiformats/bytes";
import { hashers } from "./ipld-hashers.mjs";

const [url, root] = process.argv.slice(2);

const verified = async (cid, bytes) => {
  const hasher = hashers.get(cid.multihash.code);
  return hasher !== undefined && equals((await hasher.digest(bytes)).digest, cid.multihash.digest);
};

const links = (value) => {
  if (CID.asCID(value)) return [CID.asCID(value)];
  if (value instanceof Uint8Array || value === null || typeof value !== "object") return [];
  return Object.values(value).flatMap(links);
};

const answer = await fetch(`${url}/ipfs/${root}`, { headers: { Accept: "application/vnd.ipld.car;version=1;order=dfs;dups=n" } });
const reader = await CarReader.fromBytes(new Uint8Array(await answer.arrayBuffer()));
const blocks = new Map();
let good = true;
for await (const { cid, bytes } of reader.blocks()) {
  good &&= await verified(cid, bytes);
  blocks.set(cid.toString(), bytes);
}

const order = [];
const visit = (cid) => {
  if (order.includes(cid.toString())) return;
  order.push(cid.toString());
  if (cid.code === dagCbor.code) links(dagCbor.decode(blocks.get(cid.toString()))).forEach(visit);
};
visit(CID.parse(root));

let raw = true;
for (const [cid, bytes] of blocks) {
  const block = await fetch(`${url}/ipfs/${cid}?format=raw`);
  raw &&= block.ok && equals(new Uint8Array(await block.arrayBuffer()), bytes);
}

console.log(JSON.stringify({
  contentType: answer.headers.get("content-type"),
  roots: (await reader.getRoots()).map(String),
  blocks: blocks.size,
  good,
  raw,
  depthFirst: JSON.stringify(order) === JSON.stringify([...blocks.keys()]),
}));

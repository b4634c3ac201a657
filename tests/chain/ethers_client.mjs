// ethers with its defaults against a chain: deploy, write, read, decode a revert. Prints what it saw as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { ethers } = await import(pathToFileURL(require.resolve("ethers")));
const [url, key, creation] = process.argv.slice(2);
const provider = new ethers.JsonRpcProvider(url, undefined, { pollingInterval: 50, cacheTimeout: -1 });
const wallet = new ethers.Wallet(key, provider);

const word = (n) => ethers.zeroPadValue(ethers.toBeHex(n), 32);
const deployed = await (await wallet.sendTransaction({ data: creation })).wait();
const to = deployed.contractAddress;
const stored = await (await wallet.sendTransaction({ to, data: ethers.concat([word(5), word(6)]) })).wait();
const value = BigInt(await provider.call({ to, data: word(5) })).toString();
const logs = await provider.getLogs({ address: to, fromBlock: 0 });
let reason = null;
try {
  await provider.call({ to, data: "0x01" });
} catch (error) {
  reason = error.reason;
}
let nonceTooLow = false;
try {
  await wallet.sendTransaction({ to, data: ethers.concat([word(5), word(7)]), nonce: 0 });
} catch (error) {
  nonceTooLow = error.code === "NONCE_EXPIRED";
}
const block = await provider.getBlock("finalized", true);
console.log(
  JSON.stringify({
    chainId: (await provider.getNetwork()).chainId.toString(),
    status: [deployed.status, stored.status],
    value,
    logs: logs.length,
    reason,
    block: block.number,
    fee: stored.fee.toString(),
    nonceTooLow,
  }),
);
provider.destroy();

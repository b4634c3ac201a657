// `node ipld-car.mjs read FILE` writes {roots, blocks: [[cid, hex]]} after it checked every digest;
// `node ipld-car.mjs write FILE` makes an archive of that from standard input. Both with @ipld/car.
import { createReadStream, createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { CarBlockIterator, CarWriter } from '@ipld/car'
import { CID } from 'multiformats/cid'
import { equals } from 'multiformats/bytes'
import { hashers } from './ipld-hashers.mjs'

async function readCar (path) {
  const archive = await CarBlockIterator.fromIterable(createReadStream(path))
  const blocks = []
  for await (const { cid, bytes } of archive) {
    const { digest } = await hashers.get(cid.multihash.code).digest(bytes)
    if (!equals(digest, cid.multihash.digest)) throw new Error(`wrong bytes under ${cid}`)
    blocks.push([cid.toString(), Buffer.from(bytes).toString('hex')])
  }
  const roots = (await archive.getRoots()).map(String)
  process.stdout.write(JSON.stringify({ roots, blocks }))
}

async function writeCar (path) {
  const { roots, blocks } = JSON.parse(await text(process.stdin))
  const { writer, out } = CarWriter.create(roots.map((root) => CID.parse(root)))
  const written = pipeline(Readable.from(out), createWriteStream(path))
  for (const [cid, hex] of blocks) await writer.put({ cid: CID.parse(cid), bytes: Buffer.from(hex, 'hex') })
  await writer.close()
  await written
}

const [, , action, path] = process.argv
await { read: readCar, write: writeCar }[action](path)

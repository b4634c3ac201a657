// Reads [{block, hash}] from standard input, the block in hexadecimal. Writes for each what @ipld/dag-cbor and
// multiformats make of it: the links in it, the block encoded again, its CIDs as a node and as raw bytes, or
// the error that refused it.
import { text } from 'node:stream/consumers'
import * as dagCbor from '@ipld/dag-cbor'
import { Block } from 'multiformats/block'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { hashers } from './ipld-hashers.mjs'

async function read ({ block, hash }) {
  const bytes = Buffer.from(block, 'hex')
  try {
    const value = dagCbor.decode(bytes)
    const digest = await hashers.get(hash).digest(bytes)
    const cid = CID.createV1(dagCbor.code, digest)
    return {
      encoded: Buffer.from(dagCbor.encode(value)).toString('hex'),
      links: [...new Block({ cid, bytes, value }).links()].map(([, link]) => link.toString()),
      cid: cid.toString(),
      raw: CID.createV1(raw.code, digest).toString()
    }
  } catch (error) {
    return { error: String(error) }
  }
}

const answers = await Promise.all(JSON.parse(await text(process.stdin)).map(read))
process.stdout.write(JSON.stringify(answers))

// The two hashes of our CIDs, as multiformats wants them. BLAKE3 comes from an implementation in JavaScript.
import { blake3 } from '@noble/hashes/blake3.js'
import { from } from 'multiformats/hashes/hasher'
import { sha256 } from 'multiformats/hashes/sha2'

const blake3Hasher = from({ name: 'blake3', code: 0x1e, encode: (bytes) => blake3(bytes) })

export const hashers = new Map([sha256, blake3Hasher].map((hasher) => [hasher.code, hasher]))

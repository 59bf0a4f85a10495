import { closeSync, openSync, readFileSync, writeSync } from "node:fs";

/** GGUF types that are read here, and blocks of 32 as they are written. */
const F32 = 0;
const READ_TYPES = { 2: "q4_0", 3: "q4_1", 8: "q8_0" };
const Q8_0 = 8;
const ALIGNMENT = 32;
/** Bytes of each value type of the metadata; 8 is a string, 9 an array. */
const VALUE_BYTES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };

/** Walks over a GGUF header. */
class Header {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }
  u32() {
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }
  u64() {
    this.at += 8;
    return Number(this.view.getBigUint64(this.at - 8, true));
  }
  text() {
    const length = this.u64();
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }
  skipValue(type) {
    if (type === 8) this.text();
    else if (type === 9) {
      const itemType = this.u32();
      for (let left = this.u64(); left > 0; left--) this.skipValue(itemType);
    } else this.at += VALUE_BYTES[type];
  }
}

function readHeader(bytes) {
  const header = new Header(bytes);
  header.at = 8;
  const tensorCount = header.u64();
  const keyCount = header.u64();
  for (let key = 0; key < keyCount; key++) {
    header.text();
    header.skipValue(header.u32());
  }
  const metadataEnd = header.at;
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = header.text();
    const dims = Array.from({ length: header.u32() }, () => header.u64());
    return { name, dims, type: header.u32(), offsetBytes: header.u64() };
  });
  const dataStart = Math.ceil(header.at / ALIGNMENT) * ALIGNMENT;
  return { metadataEnd, tensors, dataStart };
}

/** A tensor's bytes in Q8_0, or as they are where it is F32. */
function convert({ type, dims }, source, { decodeRow, encodeRow, rowBytes }) {
  const rowCount = dims.slice(1).reduce((product, size) => product * size, 1);
  if (type === F32) return { type, bytes: source.subarray(0, rowCount * dims[0] * 4) };
  const from = READ_TYPES[type];
  if (from === undefined) throw new Error(`GGUF type ${type} is not read here`);
  const inBytes = rowBytes(from, dims[0]);
  const outBytes = rowBytes("q8_0", dims[0]);
  const bytes = new Uint8Array(rowCount * outBytes);
  const row = new Float32Array(dims[0]);
  for (let index = 0; index < rowCount; index++) {
    decodeRow(from, source.subarray(index * inBytes, (index + 1) * inBytes), row);
    encodeRow("q8_0", row, bytes.subarray(index * outBytes, (index + 1) * outBytes));
  }
  return { type: Q8_0, bytes };
}

/** Writes a copy of a small GGUF file with its blocks in Q8_0. `codecs` are those of the bundler and the contracts. */
export function requantiseGguf(sourcePath, targetPath, codecs) {
  const source = readFileSync(sourcePath);
  const { metadataEnd, tensors, dataStart } = readHeader(source);
  const converted = tensors.map((tensor) =>
    convert(tensor, source.subarray(dataStart + tensor.offsetBytes), codecs),
  );
  const infos = [];
  let offsetBytes = 0;
  for (const [index, { name, dims }] of tensors.entries()) {
    const text = new TextEncoder().encode(name);
    const info = new DataView(new ArrayBuffer(8 + text.length + 4 + 8 * dims.length + 12));
    info.setBigUint64(0, BigInt(text.length), true);
    new Uint8Array(info.buffer).set(text, 8);
    let at = 8 + text.length;
    info.setUint32(at, dims.length, true);
    at += 4;
    for (const size of dims) {
      info.setBigUint64(at, BigInt(size), true);
      at += 8;
    }
    info.setUint32(at, converted[index].type, true);
    info.setBigUint64(at + 4, BigInt(offsetBytes), true);
    infos.push(new Uint8Array(info.buffer));
    offsetBytes += Math.ceil(converted[index].bytes.length / ALIGNMENT) * ALIGNMENT;
  }
  const file = openSync(targetPath, "w");
  try {
    let written = 0;
    const put = (bytes) => {
      written += writeSync(file, bytes);
    };
    const pad = () => put(new Uint8Array((ALIGNMENT - (written % ALIGNMENT)) % ALIGNMENT));
    put(source.subarray(0, metadataEnd));
    for (const info of infos) put(info);
    pad();
    for (const { bytes } of converted) {
      put(bytes);
      pad();
    }
  } finally {
    closeSync(file);
  }
}

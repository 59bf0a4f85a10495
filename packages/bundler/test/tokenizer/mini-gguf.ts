/** Reads the metadata of a GGUF file from its first bytes; only as good as the tests need. */
export function readGgufMetadata(bytes: Buffer): Record<string, unknown> {
  let position = 8 + 8;
  const keyCount = Number(bytes.readBigUInt64LE(position));
  position += 8;
  const text = (): string => {
    const length = Number(bytes.readBigUInt64LE(position));
    position += 8 + length;
    return bytes.toString("utf8", position - length, position);
  };
  const value = (type: number): unknown => {
    const at = position;
    const sizes: Record<number, number> = {
      0: 1,
      1: 1,
      2: 2,
      3: 2,
      4: 4,
      5: 4,
      6: 4,
      7: 1,
      10: 8,
      11: 8,
      12: 8,
    };
    if (type === 8) return text();
    if (type === 9) {
      const itemType = bytes.readUInt32LE(at);
      const count = Number(bytes.readBigUInt64LE(at + 4));
      position += 12;
      return Array.from({ length: count }, () => value(itemType));
    }
    position += sizes[type] as number;
    if (type === 0 || type === 1) return bytes[at];
    if (type === 7) return bytes[at] !== 0;
    if (type === 2 || type === 3) return bytes.readUInt16LE(at);
    if (type === 4) return bytes.readUInt32LE(at);
    if (type === 5) return bytes.readInt32LE(at);
    if (type === 6) return bytes.readFloatLE(at);
    return type === 12 ? bytes.readDoubleLE(at) : bytes.readBigInt64LE(at);
  };
  const metadata: Record<string, unknown> = {};
  for (let index = 0; index < keyCount; index++) {
    const key = text();
    const type = bytes.readUInt32LE(position);
    position += 4;
    metadata[key] = value(type);
  }
  return metadata;
}

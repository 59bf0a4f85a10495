/** An f32 tensor of a test, row-major. */
export interface MadeTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

type Named = readonly (readonly [name: string, tensor: MadeTensor])[];

const bytesOf = ({ values }: MadeTensor): Buffer =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

/** A safetensors file, from the format's description. */
export function encodeSafetensors(tensors: Named): Buffer {
  let end = 0;
  const header = Object.fromEntries(
    tensors.map(([name, tensor]) => {
      const begin = end;
      end += tensor.values.byteLength;
      return [name, { dtype: "F32", shape: tensor.shape, data_offsets: [begin, end] }];
    }),
  );
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...tensors.map(([, tensor]) => bytesOf(tensor))]);
}

/** Little-endian. */
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Little-endian. */
export function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** A string as GGUF stores it. */
export const ggufString = (value: string): Buffer => Buffer.concat([u64(value.length), Buffer.from(value)]);

/** A GGUF file of version 3 with f32 metadata and tensors, from the format's description. */
export function encodeGguf(
  magic: string,
  metadata: Readonly<Record<string, number>>,
  tensors: Named,
): Buffer {
  const parts = [Buffer.from(magic), u32(3), u64(tensors.length), u64(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) {
    const number = Buffer.alloc(4);
    number.writeFloatLE(value);
    parts.push(ggufString(key), u32(6), number);
  }
  const aligned = (length: number): number => Math.ceil(length / 32) * 32;
  let offset = 0;
  for (const [name, tensor] of tensors) {
    const dimensions = [...tensor.shape].reverse().map(u64);
    parts.push(ggufString(name), u32(dimensions.length), ...dimensions, u32(0), u64(offset));
    offset += aligned(tensor.values.byteLength);
  }
  const header = Buffer.concat(parts);
  const data = tensors.map(([, tensor]) =>
    Buffer.concat([
      bytesOf(tensor),
      Buffer.alloc(aligned(tensor.values.byteLength) - tensor.values.byteLength),
    ]),
  );
  return Buffer.concat([header, Buffer.alloc(aligned(header.length) - header.length), ...data]);
}

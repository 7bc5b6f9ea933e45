// Counts the lines of each key: emits `LINE,COUNT`. The same function as `count` of tests/guests/relay, by hand against the types that jco
// generates from wit/.
//
// The state holds a count as JSON, that is as decimal digits. QuickJS has no TextDecoder, so texts stay bytes.

import { valueLoad, valueStore } from "cofferdam:function/state@0.2.0";
import type { ComponentDescription, Port } from "cofferdam:function/guest@0.2.0";
import type { Batch, Column, Output } from "cofferdam:function/types@0.2.0";

const ZERO = "0".charCodeAt(0);
const COMMA = ",".charCodeAt(0);

function port(name: string, keyType: string): Port {
  return { name, codec: "raw", schema: [], layout: "packed", keyType };
}

function describe(): ComponentDescription {
  const form = { codec: "json", schema: "u64" };
  return {
    sdk: "by hand, in TypeScript",
    functions: [
      {
        name: "count",
        kind: "keyed-process",
        inputs: [port("in", "string")],
        outputs: [port("out", "")],
        states: [{ name: "count", kind: "value", form, mapKey: "", reads: [], writes: [] }],
        timers: [],
      },
    ],
  };
}

/** Builds a column, one value at a time. */
class Builder {
  private readonly bytes: number[] = [];
  private readonly offsets: number[] = [0];

  add(value: ArrayLike<number>): void {
    for (let at = 0; at < value.length; at++) {
      this.bytes.push(value[at]!);
    }
  }

  end(): void {
    this.offsets.push(this.bytes.length);
  }

  column(): Column {
    return { bytes: Uint8Array.from(this.bytes), offsets: Uint32Array.from(this.offsets) };
  }
}

function digits(count: number): number[] {
  return Array.from(String(count), (digit) => digit.charCodeAt(0));
}

function count(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let at = start; at < end; at++) {
    number = number * 10 + bytes[at]! - ZERO;
  }
  return number;
}

function indices(length: number): Uint32Array {
  return Uint32Array.from({ length }, (_, index) => index);
}

function process(_function: number, _input: number, batch: Batch): Output[] {
  if (batch.values.tag !== "packed") {
    throw new Error("the port declares packed values");
  }
  const lines = batch.values.val;
  const stored = valueLoad(0).values;
  const counts: number[] = [];
  for (let key = 0; key + 1 < stored.offsets.length; key++) {
    counts.push(count(stored.bytes, stored.offsets[key]!, stored.offsets[key + 1]!));
  }
  const out = new Builder();
  const records = batch.keyOf.length;
  for (let record = 0; record < records; record++) {
    const now = ++counts[batch.keyOf[record]!]!;
    out.add(lines.bytes.subarray(lines.offsets[record], lines.offsets[record + 1]));
    out.add([COMMA]);
    out.add(digits(now));
    out.end();
  }
  const values = new Builder();
  for (const now of counts) {
    values.add(digits(now));
    values.end();
  }
  valueStore(0, indices(counts.length), values.column());
  const timestamps = { tag: "inherited" } as const;
  return [{ index: 0, values: { tag: "packed", val: out.column() }, timestamps, origins: indices(records) }];
}

export const guest = { describe, process };

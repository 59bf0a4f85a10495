// One call runs a program: thread 0 publishes it, all threads walk its ops, a barrier follows each.
import { attention } from "./attention";
import { crc32c, fillTables } from "./crc32c";
import { ffnDown } from "./down";
import { gatherRows, norm, rope, storeKeyValue } from "./elementwise";
import { ffnActivations } from "./ffn";
import {
  BARRIER, BARRIER_SLEEPERS, FAILED, FAULT, OP_ADD, OP_ARGMAX, OP_ATTENTION, OP_CONVERT, OP_COPY, OP_CRC32C, OP_SOFT_CAP, OP_SOFTMAX, OP_FFN_ACTIVATIONS, OP_FFN_DOWN, OP_GATHER_ROWS, OP_MATMUL,
  OP_NEURON_SCORES, OP_NORM, OP_ROPE, OP_STORE_KEY_VALUE, PROGRAM_POINTER, READY, SEQUENCE, SEQUENCE_SLEEPERS, STOP, THREAD_COUNT, TICKETS, OP_COUNT_MAX,
} from "./layout";
import { matmul } from "./matmul";
import { neuronScores } from "./scores";
import { addVector, argmax, convert, copyVector, softCap, softmax } from "./vectors";

/**
 * About 200 microseconds of looking before a thread sleeps. Waking costs 50 to 100 on a virtual machine, more than most ops take
 * (bench/matvec.mjs with two threads); longer would burn cores while reads are awaited.
 */
const SPIN_COUNT = 50000;
/** A sleeper looks up this often, in case a thread has died. Milliseconds. */
const SLEEP_MS: f64 = 50;

/**
 * Atomics.wait of the host, in place of the wasm instruction: with the latter, bench/stress.mjs on Node 20 once showed
 * one wrong result in 10,000 runs of three threads; with this import, none in 40,000. Why is not known.
 */
// @ts-ignore: decorator
@external("env", "sleep")
declare function sleep(address: usize, expected: i32, timeoutMs: f64): void;

/** Waits until all threads have arrived `target` times in all; false when a thread has failed. */
function barrier(target: i32, threads: i32): bool {
  if (threads == 1) return true;
  if (atomic.add<i32>(BARRIER, 1) + 1 - target >= 0) {
    if (atomic.load<i32>(BARRIER_SLEEPERS) != 0) atomic.notify(BARRIER, -1);
    return true;
  }
  for (let spin = 0; spin < SPIN_COUNT; spin++) {
    if (atomic.load<i32>(BARRIER) - target >= 0) return true;
  }
  atomic.add<i32>(BARRIER_SLEEPERS, 1);
  let now = atomic.load<i32>(BARRIER);
  while (now - target < 0 && atomic.load<i32>(FAILED) == 0) {
    sleep(BARRIER, now, SLEEP_MS);
    now = atomic.load<i32>(BARRIER);
  }
  atomic.sub<i32>(BARRIER_SLEEPERS, 1);
  return now - target >= 0;
}

function step(code: u32, op: usize, tokens: i32, thread: i32, threads: i32, ticket: usize): void {
  if (code == OP_MATMUL) matmul(op, tokens, thread, threads, ticket);
  else if (code == OP_FFN_ACTIVATIONS) ffnActivations(op, tokens, thread, threads, ticket);
  else if (code == OP_FFN_DOWN) ffnDown(op, tokens, thread, threads, ticket);
  else if (code == OP_ATTENTION) attention(op, tokens, thread, threads);
  else if (code == OP_NORM) norm(op, tokens, thread, threads);
  else if (code == OP_ROPE) rope(op, tokens, thread, threads);
  else if (code == OP_STORE_KEY_VALUE) storeKeyValue(op, tokens, thread, threads);
  else if (code == OP_NEURON_SCORES) neuronScores(op, tokens, thread, threads, ticket);
  else if (code == OP_GATHER_ROWS) gatherRows(op, tokens, thread, threads);
  else if (code == OP_CRC32C) crc32c(op, thread, threads);
  else if (code == OP_ADD) addVector(op, tokens, thread, threads);
  else if (code == OP_COPY) copyVector(op, tokens, thread, threads);
  else if (code == OP_SOFT_CAP) softCap(op, tokens, thread, threads);
  else if (code == OP_SOFTMAX) softmax(op, tokens, thread, threads);
  else if (code == OP_ARGMAX) argmax(op, tokens, thread, threads);
  else if (code == OP_CONVERT) convert(op, tokens, thread, threads);
}

/** Program: opCount, then per op: code, words of the command, token count word, command. */
function execute(program: usize, base: i32, thread: i32, threads: i32): bool {
  const count = load<i32>(program);
  let at = program + 4;
  for (let index = 0; index < count; index++) {
    const tokenWord = <usize>load<u32>(at, 8);
    const tokens = tokenWord ? load<i32>(tokenWord) : 1;
    if (tokens > 0) step(load<u32>(at), at + 12, tokens, thread, threads, TICKETS + (index << 2));
    if (!barrier(base + (index + 1) * threads, threads)) return false;
    at += 12 + (<usize>load<u32>(at, 4) << 2);
  }
  return true;
}

/** Prepares tables and control words. Called once, before any worker starts. */
export function initialise(threads: i32): void {
  fillTables();
  atomic.store<i32>(THREAD_COUNT, threads);
}

/** Runs a program on the calling thread and all workers; returns a fault code, -1 when a worker has failed. */
export function run(program: usize): i32 {
  const threads = atomic.load<i32>(THREAD_COUNT);
  atomic.store<i32>(FAULT, 0);
  const base = atomic.load<i32>(BARRIER);
  // Every thread has left the last program's ops, so nobody is claiming work.
  memory.fill(TICKETS, 0, OP_COUNT_MAX << 2);
  if (threads > 1) {
    atomic.store<i32>(PROGRAM_POINTER, <i32>program);
    atomic.store<i32>(PROGRAM_POINTER + 4, base);
    atomic.add<i32>(SEQUENCE, 1);
    if (atomic.load<i32>(SEQUENCE_SLEEPERS) != 0) atomic.notify(SEQUENCE, -1);
  }
  return execute(program, base, 0, threads) ? atomic.load<i32>(FAULT) : -1;
}

/** Body of a worker thread: returns when the set is closed. */
export function work(thread: i32): void {
  let seen = 0;
  atomic.add<i32>(READY, 1);
  while (atomic.load<i32>(STOP) == 0) {
    let now = atomic.load<i32>(SEQUENCE);
    for (let spin = 0; spin < SPIN_COUNT && now == seen; spin++) now = atomic.load<i32>(SEQUENCE);
    if (now == seen) {
      atomic.add<i32>(SEQUENCE_SLEEPERS, 1);
      sleep(SEQUENCE, seen, Infinity);
      atomic.sub<i32>(SEQUENCE_SLEEPERS, 1);
      continue;
    }
    seen = now;
    if (atomic.load<i32>(STOP) != 0) return;
    const threads = atomic.load<i32>(THREAD_COUNT);
    if (!execute(<usize>atomic.load<i32>(PROGRAM_POINTER), atomic.load<i32>(PROGRAM_POINTER + 4), thread, threads)) return;
  }
}

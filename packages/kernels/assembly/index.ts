// One call runs a program. Threads claim units of the running op; whoever does the last one publishes the next op.
// Nobody waits for a thread that has claimed nothing, so one that sleeps or has lost its core holds up only itself.
import { fillConstants } from "./constants";
import { fillTables } from "./crc32c";
import {
  CLAIM_SIZE, COMMAND, COMMAND_INDEX, CURRENT, FAILED, FAULT, PROGRAM_BASE, READY, SCRATCH_BYTES, SCRATCH_START, SCRATCH_TOKENS,
  SERIAL, SLEEPERS, STOP, THREAD_COUNT, UNITS, UNITS_DONE,
} from "./layout";
import { claimSizeOf, codeOf, step, unitsOf } from "./units";

/** For ops that another instance of this module has been given. */
export { step, unitsOf };

/**
 * About 200 microseconds of looking before a thread sleeps. Waking costs 50 to 100 on a virtual machine, more than most ops take
 * (bench/matvec.mjs with two threads); longer would burn cores while reads are awaited.
 */
const SPIN_COUNT = 50000;
/** The caller looks up this often, in case a thread has died. Milliseconds. */
const SLEEP_MS: f64 = 50;
/** Next units beyond those of every op, so that nothing can be claimed: an op is being published; the program is over. */
const PUBLISHING: i64 = 0x7fffffff;
const OVER: i64 = 0x7ffffffe;

/**
 * Atomics.wait of the host, in place of the wasm instruction: with the latter, bench/stress.mjs on Node 20 once showed
 * one wrong result in 10,000 runs of three threads; with this import, none in 40,000. Why is not known.
 */
// @ts-ignore: decorator
@external("env", "sleep")
declare function sleep(address: usize, expected: i32, timeoutMs: f64): void;

// @ts-ignore: decorator
@inline
function tokensOf(command: usize): i32 {
  const word = <usize>load<u32>(command, 8);
  return word ? load<i32>(word) : 1;
}

// @ts-ignore: decorator
@inline
function after(command: usize): usize {
  return command + 12 + (<usize>load<u32>(command, 4) << 2);
}

/**
 * Makes the first op from `command` on that has work the running one, or ends the program. Only the thread that did the
 * last unit of the op before comes here. A claim succeeds only while CURRENT is what its thread has seen, so nothing that
 * is written here can be mixed up with the op before: its serial is given up first.
 */
function publish(command: usize, index: i32): void {
  const serial = atomic.load<i32>(SERIAL);
  atomic.store<i64>(CURRENT, (<i64>(serial + 1) << 32) | PUBLISHING);
  const count = load<i32>(PROGRAM_BASE);
  let units = 0;
  for (; index < count; index++) {
    units = unitsOf(load<u32>(command), command + 12, tokensOf(command));
    if (units > 0) break;
    command = after(command);
  }
  if (index < count) {
    atomic.store<i32>(UNITS_DONE, 0);
    atomic.store<i32>(UNITS, units);
    atomic.store<i32>(CLAIM_SIZE, claimSizeOf(codeOf(command), units, load<i32>(THREAD_COUNT)));
    atomic.store<i32>(COMMAND, <i32>command);
    atomic.store<i32>(COMMAND_INDEX, index);
    atomic.store<i64>(CURRENT, <i64>(serial + 2) << 32);
  } else {
    // In one store: from then on the caller may run the next program.
    atomic.store<i64>(CURRENT, (<i64>(serial + 2) << 32) | OVER);
  }
  if (atomic.load<i32>(SLEEPERS) != 0) atomic.notify(SERIAL, -1);
}

/** Serial of the op that this thread last found nothing to claim of; globals belong to an instance, and so to a thread. */
let seenSerial: i32 = 0;

/** Claims and does units of the running op; false when there are none left. */
function workOnce(thread: i32): bool {
  const current = atomic.load<i64>(CURRENT);
  const first = <i32>current;
  const units = atomic.load<i32>(UNITS);
  if (first >= units) {
    seenSerial = <i32>(current >> 32);
    return false;
  }
  const size = atomic.load<i32>(CLAIM_SIZE);
  if (atomic.cmpxchg<i64>(CURRENT, current, current + <i64>size) != current) return true;
  // From here the op cannot end before this claim is done.
  const command = <usize>atomic.load<i32>(COMMAND);
  const index = atomic.load<i32>(COMMAND_INDEX);
  const last = min(first + size, units);
  step(load<u32>(command), command + 12, first, last, tokensOf(command), thread);
  if (atomic.add<i32>(UNITS_DONE, last - first) + last - first == units) publish(after(command), index + 1);
  return true;
}

/** Looks and then sleeps until another op is published. */
function pause(timeoutMs: f64): void {
  for (let spin = 0; spin < SPIN_COUNT; spin++) {
    if (atomic.load<i32>(SERIAL) != seenSerial) return;
  }
  atomic.add<i32>(SLEEPERS, 1);
  if (atomic.load<i32>(SERIAL) == seenSerial) sleep(SERIAL, seenSerial, timeoutMs);
  atomic.sub<i32>(SLEEPERS, 1);
}

/** Prepares tables and control words. Called once, before any worker starts. */
export function initialise(threads: i32, scratchStart: u32, scratchBytes: u32, scratchTokens: u32): void {
  fillTables();
  fillConstants();
  store<u32>(SCRATCH_START, scratchStart);
  store<u32>(SCRATCH_BYTES, scratchBytes);
  store<u32>(SCRATCH_TOKENS, scratchTokens);
  atomic.store<i64>(CURRENT, OVER);
  atomic.store<i32>(THREAD_COUNT, threads);
}

/** Runs the program at PROGRAM_BASE on the calling thread and all workers; returns a fault code, -1 when a worker has failed. */
export function run(): i32 {
  atomic.store<i32>(FAULT, 0);
  publish(PROGRAM_BASE + 4, 0);
  while (atomic.load<i32>(CURRENT) != <i32>OVER) {
    if (workOnce(0)) continue;
    if (atomic.load<i32>(FAILED) != 0) return -1;
    pause(SLEEP_MS);
  }
  return atomic.load<i32>(FAULT);
}

/** Body of a worker thread: returns when the set is closed. */
export function work(thread: i32): void {
  atomic.add<i32>(READY, 1);
  while (atomic.load<i32>(STOP) == 0) {
    if (!workOnce(thread)) pause(Infinity);
  }
}

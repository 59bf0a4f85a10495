// Deterministic functions of our own, so that no host library decides a result. Polynomials are Taylor series.
import { ACTIVATION_GELU, ACTIVATION_RELU, ACTIVATION_RELU2, ACTIVATION_SILU } from "./layout";

/** exp in f64, to about one unit in the last place of f32 and far beyond. */
export function exp64(x: f64): f64 {
  if (x != x) return x;
  if (x > 700) return Infinity;
  if (x < -700) return 0;
  const power = nearest<f64>(x * 1.4426950408889634);
  const r = x - power * 0.6931471803691238 - power * 1.9082149292705877e-10;
  let sum = 1.0 + r / 12;
  sum = 1.0 + (r * sum) / 11;
  sum = 1.0 + r * sum * 0.1;
  sum = 1.0 + r * sum * 0.1111111111111111;
  sum = 1.0 + r * sum * 0.125;
  sum = 1.0 + r * sum * 0.14285714285714285;
  sum = 1.0 + r * sum * 0.16666666666666666;
  sum = 1.0 + r * sum * 0.2;
  sum = 1.0 + r * sum * 0.25;
  sum = 1.0 + r * sum * 0.3333333333333333;
  sum = 1.0 + r * sum * 0.5;
  sum = 1.0 + r * sum;
  return sum * reinterpret<f64>((<i64>power + 1023) << 52);
}

/** Four exp of f32 that are at most 0 (softmax); below -87 the result is 0. */
export function expNegative4(x: v128): v128 {
  const alive = f32x4.ge(x, f32x4.splat(-87));
  const safe = f32x4.max(x, f32x4.splat(-87));
  const power = f32x4.nearest(f32x4.mul(safe, f32x4.splat(1.44269504)));
  let r = f32x4.sub(safe, f32x4.mul(power, f32x4.splat(0.693359375)));
  r = f32x4.add(r, f32x4.mul(power, f32x4.splat(2.12194440e-4)));
  let sum = f32x4.splat(1.0 / 5040);
  sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(1.0 / 720));
  sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(1.0 / 120));
  sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(1.0 / 24));
  sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(1.0 / 6));
  sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(0.5));
  sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(1));
  sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(1));
  const scale = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(power), i32x4.splat(127)), 23);
  // NaN compares false with alive; it must stay NaN.
  const missing = f32x4.ne(x, x);
  return v128.or(v128.and(f32x4.mul(sum, scale), alive), v128.and(x, missing));
}

/** erf in f64: a series of positive terms near zero, a continued fraction of erfc beyond. */
function complementaryError(z: f64): f64 {
  const size = abs(z);
  if (size < 2.5) {
    const square = 2 * size * size;
    let term = size;
    let sum = size;
    for (let n = 3; n < 120; n += 2) {
      term = (term * square) / <f64>n;
      sum += term;
      if (term < sum * 1e-17) break;
    }
    const error = 1.1283791670955126 * exp64(-size * size) * sum;
    return z < 0 ? 1 + error : 1 - error;
  }
  let fraction = size;
  for (let n = 40; n > 0; n--) fraction = size + (<f64>n * 0.5) / fraction;
  const tail = (exp64(-size * size) * 0.5641895835477563) / fraction;
  return z < 0 ? 2 - tail : tail;
}

function shape(kind: i32, x: f32): f32 {
  if (kind == ACTIVATION_RELU) return x > 0 ? x : x != x ? x : 0;
  if (kind == ACTIVATION_RELU2) return x > 0 ? x * x : x != x ? x : 0;
  const wide = <f64>x;
  if (kind == ACTIVATION_SILU) return x == -Infinity ? 0 : <f32>(wide / (1 + exp64(-wide)));
  if (x == -Infinity) return 0;
  if (kind == ACTIVATION_GELU) return <f32>(0.5 * wide * complementaryError(-wide * 0.7071067811865476));
  // 0.5 (1 + tanh u) is 1 / (1 + exp(-2u)), which keeps its digits where tanh is near -1.
  const u = 0.7978845608028654 * (wide + 0.044715 * wide * wide * wide);
  return <f32>(wide / (1 + exp64(-2 * u)));
}

/** tanh in f64. */
function tanh64(x: f64): f64 {
  // The first terms of the series: the quotient below would lose digits near 0.
  if (abs(x) < 1e-3) return x - (x * x * x) / 3;
  return x > 20 ? 1 : x < -20 ? -1 : 1 - 2 / (exp64(2 * x) + 1);
}

/** cap * tanh(x / cap). */
export function softCapped(cap: f32, x: f32): f32 {
  return <f32>(<f64>cap * tanh64(<f64>x / <f64>cap));
}

/** An FFN activation; results at or below a positive threshold become zero. */
export function activate(kind: i32, threshold: f32, x: f32): f32 {
  const result = shape(kind, x);
  return threshold > 0 && result <= threshold ? 0 : result;
}

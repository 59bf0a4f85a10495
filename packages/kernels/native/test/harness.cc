// Runs every op of one variant at awkward sizes, so that sanitizers and valgrind see it. Results must not depend on
// threads or tokens; wrong words must end as faults. harness list | harness VARIANT
#include "harness.h"

namespace flashlm {
namespace {

int failures = 0;

void expect(bool ok, const char* what, uint32_t dtype, uint32_t tokens) {
  if (ok) return;
  failures++;
  std::fprintf(stderr, "FAILED %s, dtype %u, %u tokens\n", what, dtype, tokens);
}

struct Case {
  uint32_t dtype;
  bool quantised;
  uint32_t tokens;
  uint32_t columns;
  uint32_t threads;
  /** Started beside the caller instead of run by it. */
  bool starts = false;
};

using Result = std::vector<uint8_t>;

int runProgram(Engine& engine, const std::vector<double>& words, bool starts = false) {
  uint32_t index = 0;
  std::string reason;
  if (engine.compile(words.data(), words.size(), index, reason)) {
    if (!starts) return engine.run(index);
    engine.start(index);
    return engine.finish();
  }
  std::fprintf(stderr, "FAILED to compile: %s\n", reason.c_str());
  failures++;
  return -1;
}

double d(uint64_t value) { return static_cast<double>(value); }

constexpr uint32_t kRows = 37;
constexpr uint32_t kHeadDim = 32;
constexpr uint32_t kHeads = 4;
constexpr uint32_t kCapacity = 19;

/** matmul, scores, activations, down; then the result of each, token by token. */
std::vector<Result> runFfn(const Variant& variant, const Case& test) {
  Arena arena(4u << 20);
  const uint64_t tokens = arena.word(test.tokens);
  const uint32_t columns = test.columns;
  const uint64_t weight = arena.weights(test.dtype, uint64_t{kRows} * columns);
  const uint64_t length = rowBytes(test.dtype, columns);
  const uint64_t part = (length + 15) / 16 * 16;
  std::vector<uint32_t> addresses, identity;
  for (uint32_t i = 0; i < kRows; i++) {
    const uint64_t record = arena.weights(kF32, part * 3 / 4);
    for (int p = 0; p < 3; p++) std::memcpy(arena.data() + record + p * part, arena.data() + weight + (i + p) % kRows * length, length);
    addresses.push_back(static_cast<uint32_t>(record / 16));
    identity.push_back(i);
  }
  const uint64_t list = arena.words(addresses);
  const uint64_t ids = arena.words(identity);
  const uint64_t source = arena.floats(uint64_t{test.tokens} * columns);
  const uint64_t products = arena.allocate(4ull * test.tokens * kRows);
  const uint64_t scores = arena.allocate(4ull * test.tokens * kRows);
  const uint64_t activations = arena.allocate(4ull * test.tokens * kRows);
  const uint64_t target = arena.floats(uint64_t{test.tokens} * columns);
  const uint64_t begin = arena.word(0);
  const uint64_t end = arena.word(kRows);
  const double q = test.quantised;
  const double dtype = test.dtype;
  const double offset = d(part);
  Engine engine(arena.data(), arena.size(), test.threads, variant);
  const std::vector<double> words = {
      4,
      kOpMatmul, d(tokens), dtype, kRows, d(columns), 0, d(weight), q, d(source), d(products), 0, 0, 0,
      kOpNeuronScores, d(tokens), kProduct, q, dtype, kRows, d(columns), 0, d(weight), dtype, kRows, d(columns), 0, d(weight), 0, 0, kGelu, 0, 0, d(source), d(scores),
      kOpFfnActivations, d(tokens), d(columns), 3 * offset, 1, dtype, 0, 1, dtype, offset, 1, dtype, 2 * offset, q, kSilu, 0, 0,
      d(list), d(ids), d(ids), d(begin), d(end), d(source), d(activations), kRows, 0, 0, 0, 0, 0, 0,
      kOpFfnDown, d(tokens), d(columns), 3 * offset, 1, dtype, 0, 1, dtype, offset, 1, dtype, 2 * offset, d(list), d(end), d(activations), kRows, d(target), 0, 0,
  };
  expect(runProgram(engine, words, test.starts) == kFaultNone, "FFN program", test.dtype, test.tokens);
  return {
      arena.copy(products, 4ull * test.tokens * kRows), arena.copy(scores, 4ull * test.tokens * kRows),
      arena.copy(activations, 4ull * test.tokens * kRows), arena.copy(target, 4ull * test.tokens * columns)};
}

/** Store, attention, rope, norm and the row ops at sizes that are no multiple of a vector. */
Result runOthers(const Variant& variant, const Case& test, uint32_t cacheDtype) {
  Arena arena(4u << 20);
  const uint32_t width = kHeads * kHeadDim;
  const uint32_t dim = 2 * kHeadDim;
  const uint64_t tokens = arena.word(test.tokens);
  const uint64_t position = arena.word(3);
  const uint64_t cacheBytes = rowBytes(cacheDtype, dim) * kCapacity;
  const uint64_t keyCache = arena.weights(cacheDtype, uint64_t{dim} * kCapacity);
  const uint64_t valueCache = arena.weights(cacheDtype, uint64_t{dim} * kCapacity);
  const uint64_t keys = arena.floats(uint64_t{test.tokens} * dim);
  const uint64_t query = arena.floats(uint64_t{test.tokens} * width);
  const uint64_t table = arena.floats((3ull + test.tokens) * kHeadDim);
  const uint64_t slopes = arena.floats(kHeads);
  const uint64_t attended = arena.allocate(4ull * test.tokens * width);
  const uint64_t odd = arena.floats(uint64_t{test.tokens} * 45);
  const uint64_t weights = arena.floats(45);
  const uint64_t best = arena.allocate(4ull * test.tokens);
  const uint64_t coded = arena.allocate(rowBytes(test.dtype, 64) * test.tokens);
  const uint64_t rowIds = arena.words(std::vector<uint32_t>(test.tokens, 0));
  const uint64_t gathered = arena.allocate(4ull * test.tokens * dim);
  Engine engine(arena.data(), arena.size(), test.threads, variant);
  const double t = d(tokens);
  const std::vector<double> words = {
      11,
      kOpRope, t, d(position), d(query), kHeads, kHeadDim, kHeadDim, d(table),
      kOpStoreKeyValue, t, d(position), d(keys), d(keys), d(keyCache), d(valueCache), d(dim), kCapacity, d(cacheDtype),
      kOpAttention, t, d(position), d(query), d(keyCache), d(valueCache), d(attended), kHeads, 2, kHeadDim, 0.3, 11, kCapacity, d(cacheDtype), 5, 0, d(slopes), 0, d(slopes),
      kOpNorm, t, 1, 1, 45, 1e-5, d(odd), d(odd), 0, d(weights), 0, d(weights),
      kOpAdd, t, 45, 0.5, d(odd), d(odd),
      kOpCopy, t, 45, 2, d(odd), d(odd),
      kOpSoftCap, t, 45, 3, d(odd), d(odd),
      kOpArgmax, t, 45, 0, d(odd), d(best),
      kOpSoftmax, t, 45, 0.7, d(odd), d(odd),
      kOpConvert, t, 64, kF32, d(test.dtype), d(keys), d(coded),
      kOpGatherRows, t, kF32, 1, d(dim), 0, d(keys), d(rowIds), d(gathered), 1, 0,
  };
  expect(runProgram(engine, words) == kFaultNone, "other ops", test.dtype, test.tokens);
  Result all = arena.copy(attended, 4ull * test.tokens * width);
  for (const Result& more : {arena.copy(odd, 180ull * test.tokens), arena.copy(keyCache, cacheBytes), arena.copy(best, 4ull * test.tokens)})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

void checkSums(const Variant& variant) {
  Arena arena(1u << 16);
  const uint64_t record = arena.allocate(48);
  const uint64_t addresses = arena.words({static_cast<uint32_t>(record / 16)});
  const uint64_t order = arena.words({0, 0, 0, 0, 0});
  const uint64_t checksums = arena.allocate(20);
  const uint64_t begin = arena.word(1);
  const uint64_t end = arena.word(5);
  Engine engine(arena.data(), arena.size(), 2, variant);
  const std::vector<double> words = {1, kOpCrc32c, 0, d(addresses), d(order), d(begin), d(end), 32, d(checksums)};
  expect(runProgram(engine, words) == kFaultNone, "crc32c", 0, 0);
  // RFC 3720, appendix B.4: 32 bytes of zeros.
  for (int i = 1; i < 5; i++) expect(reinterpret_cast<uint32_t*>(arena.data() + checksums)[i] == 0x8a9136aa, "crc32c of zeros", 0, 0);
}

/** Words that point nowhere must end as faults. */
void checkFaults(const Variant& variant) {
  Arena arena(1u << 16);
  const uint64_t one = arena.word(1);
  const uint64_t many = arena.word(1u << 30);
  const uint64_t weight = arena.floats(64);
  const uint64_t source = arena.floats(8);
  const uint64_t target = arena.allocate(32);
  const uint64_t beyond = arena.word(0xfffffff0);
  const uint64_t zero = arena.word(0);
  Engine engine(arena.data(), arena.size(), 2, variant);
  const std::vector<double> tokens = {1, kOpMatmul, d(many), kF32, 8, 8, 0, d(weight), 0, d(source), d(target), 0, 0, 0};
  const std::vector<double> moving = {1, kOpMatmul, d(one), kF32, 8, 8, d(beyond), 0, 0, d(source), d(target), 0, 0, 0};
  const std::vector<double> row = {1, kOpGatherRows, d(one), kF32, 8, 8, 0, d(weight), d(beyond), d(target), 1, 0};
  const std::vector<double> record = {
      1, kOpFfnActivations, d(one), 8, 32, 0, 0, 0, 1, kF32, 0, 0, 0, 0, 0, kRelu, 0, 0, d(beyond), d(zero), d(zero), d(zero), d(one), d(source), d(target), 8, 0, 0, 0, 0, 0, 0};
  const std::vector<double> far = {
      1, kOpFfnActivations, d(one), 8, 32, 0, 0, 0, 1, kF32, 0, 0, 0, 0, 0, kRelu, 0, 0, d(one), d(zero), d(beyond), d(zero), d(one), d(source), d(target), 8, 0, 0, 0, 0, 0, 0};
  expect(runProgram(engine, tokens) == kFaultRange, "too many tokens", 0, 0);
  expect(runProgram(engine, moving) == kFaultRange, "a weight beyond memory", 0, 0);
  expect(runProgram(engine, row) == kFaultRowId, "a row id beyond the table", 0, 0);
  expect(runProgram(engine, record) == kFaultAddress, "a record beyond memory", 0, 0);
  expect(runProgram(engine, far) == kFaultRange, "a position beyond its list", 0, 0);
}

/** The first token of many must be what it is alone; more threads must change nothing. */
void checkCase(const Variant& variant, Case test) {
  test.threads = 1;
  const std::vector<Result> once = runFfn(variant, test);
  test.threads = 3;
  expect(runFfn(variant, test) == once, "FFN on three threads", test.dtype, test.tokens);
  test.starts = true;
  expect(runFfn(variant, test) == once, "FFN started beside its caller", test.dtype, test.tokens);
  if (test.tokens > 1) return;
  for (const uint32_t tokens : {2u, 5u, 7u, 131u}) {
    Case many = test;
    many.tokens = tokens;
    const std::vector<Result> all = runFfn(variant, many);
    // Random numbers come in the same order up to the first token's source, so that its dots are comparable.
    for (size_t i = 0; i < 3; i++) expect(std::memcmp(all[i].data(), once[i].data(), once[i].size()) == 0, "first of many tokens", test.dtype, tokens);
  }
}

/** An engine may end before its started program was finished; faults come at the end; one thread alone does it all in finish. */
void checkStarted(const Variant& variant) {
  Arena arena(1u << 20);
  const uint64_t one = arena.word(1);
  const uint64_t row = arena.word(9);
  const uint64_t weight = arena.floats(256 * 64);
  const uint64_t source = arena.floats(64);
  const uint64_t target = arena.allocate(1024);
  const std::vector<double> product = {1, kOpMatmul, d(one), kF32, 256, 64, 0, d(weight), 0, d(source), d(target), 0, 0, 0};
  const std::vector<double> wrong = {1, kOpGatherRows, d(one), kF32, 8, 8, 0, d(weight), d(row), d(target), 1, 0};
  for (const uint32_t threads : {1u, 2u, 3u}) {
    for (int round = 0; round < 50; round++) {
      Engine engine(arena.data(), arena.size(), threads, variant);
      uint32_t index = 0;
      std::string reason;
      expect(engine.finish() == kFaultNone, "finish of nothing", kF32, threads);
      expect(runProgram(engine, wrong, true) == kFaultRowId, "a fault of a started program", kF32, threads);
      expect(runProgram(engine, product, true) == kFaultNone, "a started program after a fault", kF32, threads);
      if (engine.compile(product.data(), product.size(), index, reason)) engine.start(index);
    }
  }
}

int check(const Variant& variant) {
  for (uint32_t dtype = kF32; dtype <= kQ4_1; dtype++) {
    const std::vector<uint32_t> widths = isBlockDtype(dtype) ? std::vector<uint32_t>{32, 544} : std::vector<uint32_t>{1, 37, 531};
    for (const uint32_t columns : widths)
      for (int q = 0; q <= (isBlockDtype(dtype) ? 1 : 0); q++) checkCase(variant, {dtype, q != 0, 1, columns, 1});
    for (const uint32_t cacheDtype : {kF32, kF16, kQ8_0})
      for (const uint32_t tokens : {1u, 9u, 23u}) {
        const Result once = runOthers(variant, {dtype, false, tokens, 0, 1}, cacheDtype);
        expect(runOthers(variant, {dtype, false, tokens, 0, 3}, cacheDtype) == once, "other ops on three threads", dtype, tokens);
      }
  }
  checkSums(variant);
  checkFaults(variant);
  checkStarted(variant);
  std::printf("%s: %s\n", variant.name, failures == 0 ? "clean" : "failed");
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace flashlm

int main(int argc, char** argv) {
  uint32_t count = 0;
  const flashlm::VariantChoice* choices = flashlm::variantChoices(&count);
  for (uint32_t i = 0; i < count; i++) {
    const flashlm::VariantChoice& choice = choices[i];
    if (argc < 2 || std::strcmp(argv[1], "list") == 0) {
      std::printf("%s: %s\n", choice.variant->name, choice.missing ? choice.missing : "usable");
    } else if (std::strcmp(argv[1], choice.variant->name) == 0) {
      if (choice.missing == nullptr) return flashlm::check(*choice.variant);
      std::printf("%s: refused, the processor lacks %s\n", choice.variant->name, choice.missing);
      return 3;
    }
  }
  return argc < 2 || std::strcmp(argv[1], "list") == 0 ? 0 : 2;
}

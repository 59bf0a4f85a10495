#include "program.h"

namespace flashlm {
namespace {

class Words {
 public:
  Words(const double* words, size_t count) : words_(words), count_(count) {}

  bool exhausted() const { return at_ == count_; }
  bool overrun() const { return overrun_; }

  double number() {
    if (at_ >= count_) {
      overrun_ = true;
      return 0;
    }
    return words_[at_++];
  }
  uint64_t place() { return static_cast<uint64_t>(number()); }
  uint32_t count() { return static_cast<uint32_t>(number()); }
  float real() { return static_cast<float>(number()); }
  bool flag() { return number() != 0; }
  Reference reference() {
    Reference result;
    result.wordBytes = place();
    result.offsetBytes = place();
    return result;
  }
  Weight weight() {
    Weight result;
    result.dtype = count();
    result.rowCount = count();
    result.columnCount = count();
    result.base = reference();
    return result;
  }
  Part part() {
    Part result;
    result.present = flag();
    result.dtype = count();
    result.offsetBytes = count();
    return result;
  }
  Record record() {
    Record result;
    result.hiddenSize = count();
    result.strideBytes = count();
    result.gate = part();
    result.up = part();
    result.down = part();
    return result;
  }

 private:
  const double* words_;
  size_t count_;
  size_t at_ = 0;
  bool overrun_ = false;
};

void readAttention(Words& words, Op& op) {
  op.position = words.place();
  op.source = words.place();
  for (int i = 0; i < 2; i++) op.extra[i] = words.place();
  op.target = words.place();
  for (int i = 0; i < 3; i++) op.count[i] = words.count();
  op.number[0] = words.real();
  op.count[3] = words.count();
  op.kind = words.count();
  op.sourceDtype = words.count();
  op.number[1] = words.real();
  op.slopes = words.reference();
  op.sinks = words.reference();
}

void readActivations(Words& words, Op& op) {
  op.record = words.record();
  op.quantised = words.flag();
  op.activation = words.count();
  op.threshold = words.real();
  op.upRelu = words.flag();
  op.addresses = words.place();
  op.ids = words.place();
  op.order = words.place();
  op.orderBegin = words.place();
  op.orderEnd = words.place();
  op.source = words.place();
  op.activations = words.place();
  op.activationStride = words.count();
  op.mask = words.place();
  op.maskStride = words.count();
  op.bias = words.reference();
  op.upBias = words.reference();
}

void readScores(Words& words, Op& op) {
  op.kind = words.count();
  op.quantised = words.flag();
  op.weight = words.weight();
  op.up = words.weight();
  op.norms = words.reference();
  op.activation = words.count();
  op.threshold = words.real();
  op.upRelu = words.flag();
  op.source = words.place();
  op.target = words.place();
}

bool readRest(Words& words, Op& op) {
  switch (op.code) {
    case kOpCrc32c:
      op.addresses = words.place();
      op.order = words.place();
      op.orderBegin = words.place();
      op.orderEnd = words.place();
      op.count[0] = words.count();
      op.target = words.place();
      return true;
    case kOpAdd:
    case kOpCopy:
    case kOpSoftCap:
    case kOpSoftmax:
    case kOpArgmax:
      op.count[0] = words.count();
      op.number[0] = words.real();
      op.source = words.place();
      op.target = words.place();
      return true;
    case kOpConvert:
      op.count[0] = words.count();
      op.sourceDtype = words.count();
      op.targetDtype = words.count();
      op.source = words.place();
      op.target = words.place();
      return true;
    default:
      return false;
  }
}

bool readOp(Words& words, Op& op) {
  switch (op.code) {
    case kOpGatherRows:
      op.weight = words.weight();
      op.source = words.place();
      op.target = words.place();
      op.number[0] = words.real();
      op.accumulate = words.flag();
      return true;
    case kOpNorm:
      op.kind = words.count();
      op.count[0] = words.count();
      op.count[1] = words.count();
      op.number[0] = words.real();
      op.source = words.place();
      op.target = words.place();
      op.norms = words.reference();
      op.bias = words.reference();
      return true;
    case kOpMatmul:
      op.weight = words.weight();
      op.quantised = words.flag();
      op.source = words.place();
      op.target = words.place();
      op.bias = words.reference();
      op.accumulate = words.flag();
      return true;
    case kOpRope:
      op.position = words.place();
      op.target = words.place();
      for (int i = 0; i < 3; i++) op.count[i] = words.count();
      op.source = words.place();
      return true;
    case kOpStoreKeyValue:
      op.position = words.place();
      for (int i = 0; i < 4; i++) op.extra[i] = words.place();
      op.count[0] = words.count();
      op.count[1] = words.count();
      op.targetDtype = words.count();
      return true;
    case kOpAttention:
      readAttention(words, op);
      return true;
    case kOpFfnActivations:
      readActivations(words, op);
      return true;
    case kOpFfnDown:
      op.record = words.record();
      op.addresses = words.place();
      op.position = words.place();
      op.activations = words.place();
      op.activationStride = words.count();
      op.target = words.place();
      op.bias = words.reference();
      return true;
    case kOpNeuronScores:
      readScores(words, op);
      return true;
    default:
      return readRest(words, op);
  }
}

}  // namespace

bool readProgram(const double* values, size_t count, Program& program, std::string& reason) {
  Words words(values, count);
  const uint32_t opCount = words.count();
  for (uint32_t index = 0; index < opCount; index++) {
    Op op;
    op.code = words.count();
    op.tokenCount = words.place();
    if (!readOp(words, op)) {
      reason = "the native kernels have no op with code " + std::to_string(op.code);
      return false;
    }
    program.ops.push_back(op);
  }
  if (!words.overrun() && words.exhausted()) return true;
  reason = "the words of a program do not match what the native kernels read";
  return false;
}

}  // namespace flashlm

// The Node-API surface: one call compiles a program, one call runs it.
#include <node_api.h>

#include <cstring>
#include <exception>
#include <string>

#include "engine.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

using flashlm::Engine;
using flashlm::Variant;
using flashlm::VariantChoice;

struct Arguments {
  napi_value values[5];
  size_t count = 5;
  Arguments(napi_env env, napi_callback_info info) { napi_get_cb_info(env, info, &count, values, nullptr, nullptr); }
};

napi_value fail(napi_env env, const char* message) {
  napi_throw_error(env, nullptr, message);
  return nullptr;
}

napi_value numberOf(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

bool bytesOf(napi_env env, napi_value value, uint8_t** data, size_t* length) {
  bool isTyped = false;
  if (napi_is_typedarray(env, value, &isTyped) != napi_ok || !isTyped) return false;
  void* pointer = nullptr;
  if (napi_get_typedarray_info(env, value, nullptr, length, &pointer, nullptr, nullptr) != napi_ok) return false;
  *data = static_cast<uint8_t*>(pointer);
  return true;
}

/** What a handle stands for: an engine, null once it is closed, and its arena, which the host owns. */
struct Holder {
  Engine* engine;
  uint8_t* arena;
  uint64_t arenaBytes;
};

Engine* engineOf(napi_env env, napi_value value) {
  void* pointer = nullptr;
  if (napi_get_value_external(env, value, &pointer) != napi_ok || pointer == nullptr) return nullptr;
  return static_cast<Holder*>(pointer)->engine;
}

#if defined(__linux__)
/** Advice on the whole pages of a range. Refusal is no fault: what is advised here saves time or memory and nothing else. */
void advise(uint8_t* bytes, uint64_t lengthBytes, int advice) {
  constexpr uint64_t kPage = 4096;
  const uint64_t first = (reinterpret_cast<uint64_t>(bytes) + kPage - 1) / kPage * kPage;
  const uint64_t end = (reinterpret_cast<uint64_t>(bytes) + lengthBytes) / kPage * kPage;
  if (end > first) (void)madvise(reinterpret_cast<void*>(first), end - first, advice);
}
#endif

/** Asks for large pages; they matter where memory is read faster than the translation of addresses. */
void preferLargePages([[maybe_unused]] uint8_t* bytes, [[maybe_unused]] uint64_t lengthBytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  advise(bytes, lengthBytes, MADV_HUGEPAGE);
#endif
}

/** Gives memory back to the system at once: the host frees it when it next collects garbage, and by then another set may fill as much. */
void giveBack([[maybe_unused]] uint8_t* bytes, [[maybe_unused]] uint64_t lengthBytes) {
#if defined(__linux__)
  advise(bytes, lengthBytes, MADV_DONTNEED);
#endif
}

/** variants(): `[name, what the machine lacks or ""]` pairs, fastest first, in one flat array. */
napi_value variants(napi_env env, napi_callback_info) {
  uint32_t count = 0;
  const VariantChoice* choices = flashlm::variantChoices(&count);
  napi_value list;
  napi_create_array(env, &list);
  for (uint32_t i = 0; i < count; i++) {
    napi_value name, missing;
    napi_create_string_utf8(env, choices[i].variant->name, NAPI_AUTO_LENGTH, &name);
    napi_create_string_utf8(env, choices[i].missing ? choices[i].missing : "", NAPI_AUTO_LENGTH, &missing);
    napi_set_element(env, list, i * 2, name);
    napi_set_element(env, list, i * 2 + 1, missing);
  }
  return list;
}

const Variant* usableVariant(const char* name) {
  uint32_t count = 0;
  const VariantChoice* choices = flashlm::variantChoices(&count);
  for (uint32_t i = 0; i < count; i++)
    if (choices[i].missing == nullptr && std::strcmp(choices[i].variant->name, name) == 0) return choices[i].variant;
  return nullptr;
}

/** The host ends, perhaps between start and finish: no thread may still read the arena when its memory goes. */
void endStarted(void* pointer) {
  Engine* engine = static_cast<Holder*>(pointer)->engine;
  if (engine != nullptr) engine->finish();
}

/** The host may have freed the arena by now, so that it is left alone. */
void release(napi_env env, void* pointer, void*) {
  Holder* holder = static_cast<Holder*>(pointer);
  napi_remove_env_cleanup_hook(env, endStarted, holder);
  delete holder->engine;
  delete holder;
}

/** create(first bytes of the arena, last bytes of it, threadCount, variant name, large pages): a handle. */
napi_value create(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  uint8_t *first, *last;
  size_t firstLength, lastLength;
  uint32_t threadCount = 0;
  char name[32] = {};
  bool largePages = false;
  if (arguments.count != 5 || !bytesOf(env, arguments.values[0], &first, &firstLength) || !bytesOf(env, arguments.values[1], &last, &lastLength) ||
      napi_get_value_uint32(env, arguments.values[2], &threadCount) != napi_ok || threadCount == 0 ||
      napi_get_value_string_utf8(env, arguments.values[3], name, sizeof(name), nullptr) != napi_ok ||
      napi_get_value_bool(env, arguments.values[4], &largePages) != napi_ok || last < first) {
    return fail(env, "create expects the arena's first and last bytes, a thread count, a variant and a boolean");
  }
  const Variant* variant = usableVariant(name);
  if (variant == nullptr) return fail(env, "this machine cannot run the kernels of that variant");
  const uint64_t lengthBytes = static_cast<uint64_t>(last + lastLength - first);
  if (largePages) preferLargePages(first, lengthBytes);
  try {
    Holder* holder = new Holder{new Engine(first, lengthBytes, threadCount, *variant), first, lengthBytes};
    napi_value handle;
    napi_create_external(env, holder, release, nullptr, &handle);
    napi_add_env_cleanup_hook(env, endStarted, holder);
    return handle;
  } catch (const std::exception& error) {
    return fail(env, error.what());
  }
}

/** compile(handle, words): index of the program. */
napi_value compile(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Engine* engine = arguments.count == 2 ? engineOf(env, arguments.values[0]) : nullptr;
  uint8_t* words;
  size_t length;
  napi_typedarray_type type;
  if (engine == nullptr || !bytesOf(env, arguments.values[1], &words, &length) ||
      napi_get_typedarray_info(env, arguments.values[1], &type, nullptr, nullptr, nullptr, nullptr) != napi_ok || type != napi_float64_array) {
    return fail(env, "compile expects an open handle and a Float64Array");
  }
  uint32_t index = 0;
  std::string reason;
  if (!engine->compile(reinterpret_cast<const double*>(words), length, index, reason)) return fail(env, reason.c_str());
  return numberOf(env, index);
}

/** The engine of an open handle and the index of one of its programs; nullptr for anything else. */
Engine* programOf(napi_env env, napi_callback_info info, uint32_t& index) {
  Arguments arguments(env, info);
  Engine* engine = arguments.count == 2 ? engineOf(env, arguments.values[0]) : nullptr;
  if (engine == nullptr || napi_get_value_uint32(env, arguments.values[1], &index) != napi_ok) return nullptr;
  return index < engine->programCount() ? engine : nullptr;
}

/** run(handle, index): a fault, 0 for none. */
napi_value run(napi_env env, napi_callback_info info) {
  uint32_t index = 0;
  Engine* engine = programOf(env, info, index);
  if (engine == nullptr) return fail(env, "run expects an open handle and the index of a program");
  napi_value result;
  napi_create_int32(env, engine->run(index), &result);
  return result;
}

/** start(handle, index): begins a program; finish comes before anything else. */
napi_value start(napi_env env, napi_callback_info info) {
  uint32_t index = 0;
  Engine* engine = programOf(env, info, index);
  if (engine == nullptr) return fail(env, "start expects an open handle and the index of a program");
  engine->start(index);
  return nullptr;
}

/** finish(handle): a fault of the program that was started, 0 for none. */
napi_value finish(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Engine* engine = arguments.count == 1 ? engineOf(env, arguments.values[0]) : nullptr;
  if (engine == nullptr) return fail(env, "finish expects an open handle");
  napi_value result;
  napi_create_int32(env, engine->finish(), &result);
  return result;
}

/** close(handle): stops the threads and empties the arena. */
napi_value close(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  void* pointer = nullptr;
  if (arguments.count != 1 || napi_get_value_external(env, arguments.values[0], &pointer) != napi_ok) return fail(env, "close expects a handle");
  Holder* holder = static_cast<Holder*>(pointer);
  delete holder->engine;
  if (holder->engine != nullptr) giveBack(holder->arena, holder->arenaBytes);
  holder->engine = nullptr;
  return nullptr;
}

/** readRange(handle, offsetBytes, lengthBytes): reads memory and nothing else. */
napi_value readRange(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Engine* engine = arguments.count == 3 ? engineOf(env, arguments.values[0]) : nullptr;
  double offsetBytes = 0, lengthBytes = 0;
  if (engine == nullptr || napi_get_value_double(env, arguments.values[1], &offsetBytes) != napi_ok ||
      napi_get_value_double(env, arguments.values[2], &lengthBytes) != napi_ok ||
      !engine->readRange(static_cast<uint64_t>(offsetBytes), static_cast<uint64_t>(lengthBytes))) {
    return fail(env, "readRange expects an open handle and a range of the arena");
  }
  return nullptr;
}

/** copy(handle, toBytes, fromBytes, lengthBytes): within the arena, on the calling thread, whatever the others do. */
napi_value copy(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Engine* engine = arguments.count == 4 ? engineOf(env, arguments.values[0]) : nullptr;
  double toBytes = 0, fromBytes = 0, lengthBytes = 0;
  if (engine == nullptr || napi_get_value_double(env, arguments.values[1], &toBytes) != napi_ok ||
      napi_get_value_double(env, arguments.values[2], &fromBytes) != napi_ok || napi_get_value_double(env, arguments.values[3], &lengthBytes) != napi_ok ||
      !engine->copy(static_cast<uint64_t>(toBytes), static_cast<uint64_t>(fromBytes), static_cast<uint64_t>(lengthBytes))) {
    return fail(env, "copy expects an open handle and two ranges of the arena");
  }
  return nullptr;
}

/** multiplyAdd(handle, count): f32 operations that every thread did. */
napi_value multiplyAdd(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Engine* engine = arguments.count == 2 ? engineOf(env, arguments.values[0]) : nullptr;
  double count = 0;
  if (engine == nullptr || napi_get_value_double(env, arguments.values[1], &count) != napi_ok) return fail(env, "multiplyAdd expects an open handle and a count");
  const uint32_t lanes = engine->multiplyAdd(static_cast<uint64_t>(count));
  return numberOf(env, count * lanes * 2);
}

void add(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  napi_set_named_property(env, exports, name, function);
}

napi_value initialise(napi_env env, napi_value exports) {
  napi_set_named_property(env, exports, "abiVersion", numberOf(env, flashlm::kAbiVersion));
  add(env, exports, "variants", variants);
  add(env, exports, "create", create);
  add(env, exports, "compile", compile);
  add(env, exports, "run", run);
  add(env, exports, "start", start);
  add(env, exports, "finish", finish);
  add(env, exports, "close", close);
  add(env, exports, "copy", copy);
  add(env, exports, "readRange", readRange);
  add(env, exports, "multiplyAdd", multiplyAdd);
  return exports;
}

}  // namespace

NAPI_MODULE(flashlm_kernels, initialise)
